"""What Prometheus and node_exporter get: from a real worker, in an outage, parsed by the reference parser."""

import math
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import uploader.monitoring
from spool import Spool, StreamSettings
from spool.testing import some_frames, some_reading
from tests.cli.shell import Reader as CommandReader
from tests.cli.shell import Shell, finished
from tests.uploader.rig import NO_LIMITS, Bench, wait_until
from uploader.errors import UploaderError
from uploader.metrics import figures as figures_module
from uploader.metrics import serving
from uploader.metrics.families import SpoolCollector
from uploader.metrics.figures import STREAMS_MAX, Reader
from uploader.metrics.names import METRICS
from uploader.metrics.tries import Tries
from uploader.onlooking import Watched
from uploader.outlets import Outlets
from uploader.outlets import watched as watched_ones
from uploader.resolving import Sources, every_spool
from uploader.settings_file import SettingsFile

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


def parsed(text: str) -> Samples:
    """Every sample; a name and labels that come twice would be refused by Prometheus."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} comes twice"
            found[key] = sample.value
    return found


def worth(samples: Samples, metric: str, /, **labels: str) -> float:
    """The one sample of this name with these labels among its own."""
    fits = [
        value
        for (one, theirs), value in samples.items()
        if one == metric and labels.items() <= dict(theirs).items()
    ]
    assert len(fits) == 1, (metric, labels, fits)
    return fits[0]


def scrape(port: int, *, accept: str = "text/plain") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return str(answer.read().decode())


@pytest.fixture
def shell(bench: Bench) -> Shell:
    made = Shell(bench.root, bench.server.url)
    made.environment |= {"AS_API_KEY": bench.server.api_key, "FRAMESPOOL_MIN_FREE_BYTES": "0"}
    return made


def port_of(log: Path) -> int:
    """Where the worker says that it can be asked."""
    wait_until(lambda: log.exists() and "metrics at http://" in log.read_text())
    found = re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", log.read_text())
    assert found is not None
    return int(found[1])


def test_a_worker_in_an_outage_says_so_and_everything_that_rules_and_dashboard_name_is_there(
    bench: Bench, shell: Shell, tmp_path: Path
) -> None:
    data_id = bench.open_stream(3, name='Ga"As\n\\buffer')
    bench.spool.note_clock(data_id, some_reading(offset_ms=-1500.0))
    log, prom = tmp_path / "w.log", tmp_path / "framespool.prom"
    where = {"spool": bench.root.name, "destination": bench.server.url}
    bench.server.outage(True)
    began_s = time.time()
    with shell.running("worker", "--metrics", "0", "--metrics-file", str(prom), "--log-file", str(log)) as process:
        port = port_of(log)
        wait_until(lambda: bench.spool.figures(bench.stream(data_id).stream_id).is_outage)
        wait_until(lambda: worth(parsed(scrape(port)), "framespool_outage", **where) == 1)
        there = parsed(scrape(port))
        stream = {**where, "stream": bench.stream(data_id).stream_id}
        assert worth(there, "framespool_waiting_chunks", **where) == 3
        assert worth(there, "framespool_stream_waiting_chunks", **stream) == 3
        assert worth(there, "framespool_waiting_recording_seconds", **where) == 6
        assert worth(there, "framespool_oldest_waiting_seconds", **where) > 0
        assert began_s - 1 <= worth(there, "framespool_outage_began_timestamp_seconds", **where) <= time.time()
        assert worth(there, "framespool_worker_up", **where) == 1
        assert worth(there, "framespool_key_refused", **where) == 0
        assert worth(there, "framespool_clock_offset_seconds", **where) == -1.5
        assert worth(there, "framespool_full_in_seconds") > 0
        assert worth(there, "framespool_stream_info", name='Ga"As\n\\buffer', state="open") == 1
        assert ("process_start_time_seconds", frozenset()) in there or sys.platform == "darwin"
        assert scrape(port, accept="application/openmetrics-text; version=1.0.0").endswith("# EOF\n")

        bench.server.outage(False)
        wait_until(lambda: bench.acknowledged(data_id) == 3)
        wait_until(lambda: worth(parsed(scrape(port)), "framespool_acknowledged_chunks_total", **where) == 3)
        there = parsed(scrape(port))
        assert worth(there, "framespool_outage", **where) == 0
        assert worth(there, "framespool_tries_total", **where, outcome="delivered") == 3
        assert worth(there, "framespool_receipts_total", **where, confirmed="true") == 3
        spooled = worth(there, "framespool_spooled_bytes_total", **where)
        assert spooled == worth(there, "framespool_acknowledged_bytes_total", **where) > 0
        assert spooled == worth(there, "framespool_tried_bytes_total", **where, outcome="delivered")
        assert began_s <= worth(there, "framespool_last_acknowledged_timestamp_seconds", **where) <= time.time()
        assert abs(worth(there, "framespool_clock_offset_seconds", **where)) < 60

        process.terminate()
        assert finished(process).code == 0
    last = parsed(prom.read_text())
    assert worth(last, "framespool_worker_up", **where) == 0, "the file says how it ended"
    assert worth(last, "framespool_acknowledged_chunks_total", **where) == 3
    assert not any(name.startswith("process_") for name, _ in last), "node_exporter has those of its own"
    if sys.platform != "win32":
        assert prom.stat().st_mode & 0o044, "node_exporter is another user"
    assert bench.server.api_key not in prom.read_text()

    # What was there at either time is all that rules and dashboard may name.
    names = {name for name, _ in there} | {"framespool_outage_began_timestamp_seconds"}
    files = Path(uploader.monitoring.__file__).parent
    for file in ("alerts.yml", "dashboard.json"):
        named = set(re.findall(r"framespool_[a-z_]+", (files / file).read_text("utf-8")))
        assert named, file
        assert named - names == set(), file


def test_a_scrape_has_every_metric_of_the_table_and_no_other(tmp_path: Path) -> None:
    with Spool(tmp_path / "s", limits=NO_LIMITS) as spool:
        spool.open_stream(settings("one"))
    collector = SpoolCollector(Reader([watched(tmp_path / "s")]), Tries())
    assert [family.name for family in collector.collect()] == [one.name.removesuffix("_total") for one in METRICS]


def settings(name: str, destination: str = "http://127.0.0.1:9") -> StreamSettings:
    return StreamSettings(name=name, destination=destination, fps=2.0, rotations_per_min=0.0, chunk_size=4)


def watched(root: Path, name: str = "mbe1", *destinations: str) -> Watched:
    return Watched(name=name, root=root, limits=NO_LIMITS, destinations=destinations)


def collected(*spools: Watched) -> Samples:
    reader = Reader(spools)
    with closing(reader):
        samples: Samples = {}
        for family in SpoolCollector(reader, Tries()).collect():
            for sample in family.samples:
                samples[sample.name, frozenset(sample.labels.items())] = sample.value
        return samples


def test_each_destination_of_a_stream_has_figures_of_its_own(tmp_path: Path) -> None:
    nas = (tmp_path / "nas").as_uri()
    with Spool(tmp_path / "s", limits=NO_LIMITS) as spool:
        stream = spool.open_stream(settings("one"), also=[nas])
        spool.push(stream.stream_id, 0, some_frames())
        lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        chunk = lease.next_waiting()
        assert chunk is not None
        lease.park(chunk, "no")
    there = collected(watched(tmp_path / "s", "mbe1", "s3://not-yet"))
    for url, waiting, parked in (("http://127.0.0.1:9", 0, 1), (nas, 1, 0), ("s3://not-yet", 0, 0)):
        assert worth(there, "framespool_waiting_chunks", destination=url) == waiting
        assert worth(there, "framespool_parked_chunks", destination=url) == parked


def test_a_spool_that_cannot_be_read_is_said_to_be_so_and_the_others_are_shown(tmp_path: Path) -> None:
    with Spool(tmp_path / "s", limits=NO_LIMITS):
        pass
    there = collected(watched(tmp_path / "s"), watched(tmp_path / "unplugged", "usb"))
    assert worth(there, "framespool_spool_readable", spool="mbe1") == 1
    assert worth(there, "framespool_spool_readable", spool="usb") == 0
    assert worth(there, "framespool_recording") == 0
    assert worth(there, "framespool_full_in_seconds") == math.inf, "it is not filling"
    assert not (tmp_path / "unplugged").exists()


def test_streams_are_shown_one_by_one_up_to_a_limit_and_summed_beyond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.metrics.families.STREAMS_MAX", 3)
    assert STREAMS_MAX > 3
    with Spool(tmp_path / "s", limits=NO_LIMITS) as spool:
        refs = [spool.open_stream(settings(f"growth {number}")).stream_id for number in range(5)]
        for ref in refs[2:]:
            spool.push(ref, 0, some_frames())
    there = collected(watched(tmp_path / "s"))
    shown = {dict(labels)["stream"] for name, labels in there if name == "framespool_stream_info"}
    assert shown == set(refs[2:]), "those with the most waiting"
    assert worth(there, "framespool_streams", state="open") == 5


def test_however_often_it_is_asked_the_index_is_read_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "FRESH_S", 3600.0)
    with Spool(tmp_path / "s", limits=NO_LIMITS) as spool:
        spool.open_stream(settings("one"))
        with closing(Reader([watched(tmp_path / "s")])) as reader:
            before = reader.read()
            spool.open_stream(settings("two"))
            assert reader.read() is before
            monkeypatch.setattr(figures_module, "FRESH_S", 0.0)
            after = reader.read()["mbe1"]
            assert after is not None
            assert len(after.streams) == 2


# Where it cannot be had ---------------------------------------------------------------------------------------


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def sources(given_by: str, **given: object) -> Sources:
    return Sources(environ={}, file=SettingsFile(), given=given, default_root=Path("/nowhere"), given_by=given_by)


@pytest.mark.parametrize("wish", ["port", "file", "webhook", "extra"])
def test_what_was_typed_and_cannot_be_had_is_refused(
    wish: str, taken_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: dict[str, tuple[dict[str, object], str]] = {
        "port": ({"metrics": taken_port}, "in use"),
        "file": ({"metrics_file": tmp_path / "no" / "x.prom"}, "No such file"),
        "webhook": ({"webhook": f"@{tmp_path / 'missing'}"}, "missing cannot be read"),
        "extra": ({"metrics": 0}, "prometheus-client"),
    }
    given, says = wishes[wish]
    if wish == "extra":
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises((UploaderError, OSError), match=says), Outlets(sources("flag", **given), []):
        pass


def test_what_is_configured_and_cannot_be_had_keeps_nothing_from_being_delivered(
    bench: Bench, shell: Shell, taken_port: int, tmp_path: Path
) -> None:
    data_id = bench.open_stream(2)
    shell.environment |= {
        "FRAMESPOOL_METRICS": str(taken_port),
        "FRAMESPOOL_METRICS_FILE": str(tmp_path / "no" / "x.prom"),
        "FRAMESPOOL_WEBHOOK": f"@{tmp_path / 'missing'}",
    }
    said = shell.run("worker", "--once")
    assert said.code == 0
    bench.assert_arrived(data_id, 2)
    assert f"no metrics at 127.0.0.1 port {taken_port}" in said.err
    assert f"cannot be written to {tmp_path / 'no' / 'x.prom'}" in said.err
    assert "missing cannot be read" in said.err


def test_a_configured_port_is_taken_up_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "AGAIN_S", 0.02)
    with closing(Reader([])) as figures, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        endpoint = serving.Endpoint(("127.0.0.1", port), SpoolCollector(figures, Tries()))
        with closing(endpoint):
            endpoint.start(patiently=True)
            assert endpoint.port is None
            listener.close()
            wait_until(lambda: endpoint.port == port)
            assert worth(parsed(scrape(port)), "framespool_build_info") == 1


def test_without_the_extra_a_configured_port_does_not_stop_deliveries(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with Outlets(sources("environment FRAMESPOOL_METRICS", metrics=0), []):
        assert "pip install 'framespool[metrics]'" in caplog.text


def test_two_spools_of_one_name_are_told_apart(tmp_path: Path) -> None:
    roots = [tmp_path / "a" / "spool", tmp_path / "b" / "spool", tmp_path / "mbe1"]
    found = every_spool(sources("flag"), roots)
    found += [found[2].going_to("s3://bucket")]
    assert [(one.name, len(one.destinations)) for one in watched_ones(found)] == [
        (str(roots[0]), 1), (str(roots[1]), 1), ("mbe1", 2),
    ]  # fmt: skip


@pytest.fixture
def reader(tmp_path: Path) -> Shell:
    return CommandReader(tmp_path / "spool", "http://127.0.0.1:9")


@pytest.mark.parametrize("text", ["metrics", "70000", "127.0.0.1:", ":9464", "127.0.0.1:x", "-1"])
def test_what_is_no_port_is_refused(reader: Shell, text: str) -> None:
    said = reader.run("config", f"--metrics={text}")
    assert said.code == 2
    assert "not a port or an address with one" in " ".join(said.err.split())


def test_a_port_alone_is_one_of_this_machine(reader: Shell) -> None:
    for text, means in (("9464", "127.0.0.1:9464"), ("0.0.0.0:9464",) * 2, ("[::1]:9464",) * 2):
        assert reader.run("config", "--json", "--metrics", text).json()["settings"]["metrics"]["value"] == means


def test_a_file_that_node_exporter_would_not_look_at_is_refused(reader: Shell, tmp_path: Path) -> None:
    said = reader.run("config", "--metrics-file", str(tmp_path / "metrics.txt"))
    assert said.code == 2
    assert ".prom" in said.err
