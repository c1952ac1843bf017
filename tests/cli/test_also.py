"""Further destinations from the configuration: streams go to all of them, and one worker looks after all."""

from pathlib import Path

import pytest

from spool import Spool
from tests.cli.shell import Shell
from uploader import config
from uploader.errors import ConfigurationError

QUICK = ("sim:frames=24,height=32,width=48", "--fast", "--fps", "6", "--drain-timeout", "30")


@pytest.fixture
def configured(shell: Shell, tmp_path: Path) -> Shell:
    """Everything goes to one folder, and besides to another."""
    file = tmp_path / "lab.toml"
    one, two = (tmp_path / "one").as_uri(), (tmp_path / "two").as_posix()
    file.write_text(f'endpoint = "{one}"\nalso = ["{two}"]\n', "utf-8")
    known = shell.without("AS_API_ENDPOINT", "AS_API_KEY")
    known.environment["FRAMESPOOL_CONFIG"] = str(file)
    return known


def arrived(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/frames/c.*"))


def test_a_stream_goes_to_all_that_are_configured(configured: Shell, tmp_path: Path) -> None:
    said = configured.run("stream", *QUICK)
    assert said.code == 0, said.err
    assert arrived(tmp_path / "one") == arrived(tmp_path / "two") == ["c.0.0.0", "c.1.0.0"]


def test_one_worker_looks_after_all_of_them(configured: Shell, tmp_path: Path) -> None:
    configured.run("stream", *QUICK, "--worker", "external", "--drain-timeout", "0")
    assert arrived(tmp_path / "one") == []
    said = configured.run("worker", "--once")
    assert said.code == 0, said.err
    assert arrived(tmp_path / "one") == arrived(tmp_path / "two") == ["c.0.0.0", "c.1.0.0"]


def test_who_names_a_destination_means_that_alone(configured: Shell, tmp_path: Path) -> None:
    assert configured.run("stream", *QUICK, "--to", str(tmp_path / "three")).code == 0
    with Spool(configured.spool) as spool:
        (stream,) = spool.streams()
    assert stream.settings.destination == (tmp_path / "three").as_uri()
    assert not (tmp_path / "two").exists()


def test_each_instrument_may_have_its_own_and_one_worker_looks_after_all(shell: Shell, tmp_path: Path) -> None:
    """As a service calls it: by its file alone. A relative folder counts from there."""
    file = tmp_path / "lab" / "lab.toml"
    file.parent.mkdir()
    file.write_text(
        f"""
        endpoint = "{(tmp_path / "all").as_uri()}"
        also = ["growths"]
        min_free_bytes = 0
        [[spool]]
        dir = "mbe1"
        [[spool]]
        dir = "pld"
        also = ["growths", "{(tmp_path / "of pld").as_posix()}"]
        [[spool]]
        dir = "test"
        also = []
        """,
        "utf-8",
    )
    known = shell.without("AS_API_ENDPOINT", "AS_API_KEY", "ATOMSCALE_SPOOL_DIR")
    known.environment["FRAMESPOOL_CONFIG"] = str(file)
    for name in ("mbe1", "pld", "test"):
        known.run(
            "stream", *QUICK, "--spool", name, "--name", name, "--worker", "external", "--drain-timeout", "0"
        )
    known = known.without("FRAMESPOOL_CONFIG")
    assert known.run("worker", "--once", "--config", str(file)).code == 0
    names = {
        folder: sorted(path.name.partition("-")[0] for path in (tmp_path / folder).glob("*.proof.json"))
        for folder in ("all", "lab/growths", "of pld")
    }
    assert names == {"all": ["mbe1", "pld", "test"], "lab/growths": ["mbe1", "pld"], "of pld": ["pld"]}
    of_pld = known.run("config", "--config", str(file), "--spool", "pld", "--json").json()["spools"][0]["settings"]
    growths = (tmp_path / "lab" / "growths").as_uri()
    assert of_pld["also"]["value"] == f"{growths} {(tmp_path / 'of pld').as_uri()}"
    assert of_pld["also"]["origin"] == f"file {file}, spool pld"


def test_what_is_typed_twice_over_counts_together(configured: Shell, tmp_path: Path) -> None:
    """``--to`` and ``--also`` in one command: nothing of what a person has typed is left out."""
    typed = ("--to", str(tmp_path / "three"), "--also", str(tmp_path / "four"))
    configured.run("stream", *QUICK, *typed, "--worker", "external", "--drain-timeout", "0")
    assert configured.run("worker", "--once", *typed).code == 0
    assert arrived(tmp_path / "three") == arrived(tmp_path / "four") == ["c.0.0.0", "c.1.0.0"]
    assert not (tmp_path / "two").exists()


def test_what_is_typed_counts_besides(tmp_path: Path) -> None:
    found = config.spool({"endpoint": "https://lab.example", "also": f"{tmp_path} s3://growths/lab-1"}, {})
    assert found.also == (tmp_path.as_uri(), "s3://growths/lab-1")
    alone = config.spool({"endpoint": "https://lab.example"}, {"FRAMESPOOL_ALSO": "s3://growths"})
    assert alone.also == ()
    both = config.spool({}, {"AS_API_ENDPOINT": "https://lab.example", "FRAMESPOOL_ALSO": "s3://growths"})
    assert both.also == ("s3://growths",)


@pytest.mark.parametrize("also", ["ftp://x", "s3://growths s3://growths", 7, [7]])
def test_what_is_no_address_is_refused(also: object) -> None:
    with pytest.raises(ConfigurationError, match="also"):
        config.spool({"also": also}, {})
