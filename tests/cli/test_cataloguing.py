"""``framespool catalog``: what people and programs are told of a folder full of streams."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zarr

from tests.cli.shell import Reader, Shell
from tests.destinations.sites import CHUNKS, FRAMES, Site, folder_site

DAY_MS = 86_400_000
NOVEMBER_14_MS = 1_700_000_000_000  # 22:13 UTC


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "nas" / "growths"


@pytest.fixture
def site(tmp_path: Path, folder: Path) -> Site:
    return folder_site(tmp_path, folder)


def test_each_stream_is_a_line_that_ends_with_its_path(site: Site, folder: Path, reader: Reader) -> None:
    whole = site.grow("GaAs / 7", physical_sample="wafer 7")
    growing = site.grow("still", sealed=False)
    zarr.create_group(folder / "theirs.zarr")
    said = reader.run("catalog", str(folder))
    head, *rows = said.out.splitlines()
    assert said.code == 0
    assert head.split() == ["BEGAN", "(UTC)", "STATE", "FRAMES", "SIZE", "NAME", "SAMPLE", "PATH"]
    ours, theirs, still = sorted(rows[:3], key=lambda row: row.rpartition(" ")[2].replace("still", "z"))
    assert ours.startswith("2023-11-14 22:13 complete ")
    assert ours.endswith(f" {whole}")
    assert "GaAs / 7" in ours
    assert "wafer 7" in ours
    assert f" {FRAMES} " in ours
    assert " growing " in still
    assert still.endswith(growing)
    assert " foreign " in theirs
    assert rows[-1].startswith("2 streams, ")
    assert rows[-1].endswith(": 1 growing, 1 complete; and 1 Zarr group or array of others")


def test_an_address_and_a_path_and_a_streams_own_path_are_understood(
    site: Site, folder: Path, reader: Reader
) -> None:
    place = site.grow("growth")
    for url in (str(folder), folder.as_uri(), str(folder.parent), str(folder / place)):
        (found,) = reader.run("catalog", url, "--json").json()["streams"]
        assert found["path"].endswith(place)
        assert found["state"] == "complete"


def test_json_has_what_a_program_needs(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth", physical_sample="w", project_id="6a3b6e2e-3f6c-4a1e-8a53-3c9f7a4e0f11")
    said = reader.run("catalog", str(folder), "--json", "--check").json()
    assert said["url"] == folder.as_uri()
    (found,) = said["streams"]
    size = sum(path.stat().st_size for path in (folder / place / "frames").glob("c.*"))
    assert found == {
        "path": place,
        "state": "complete",
        "says": None,
        "stream_id": place.removeprefix("growth-"),
        "name": "growth",
        "sample": "w",
        "project": "6a3b6e2e-3f6c-4a1e-8a53-3c9f7a4e0f11",
        "began_at_ms": NOVEMBER_14_MS,
        "frames": FRAMES,
        "bytes": size,
        "chunks": CHUNKS,
        "checked": {"chunks_present": CHUNKS, "missing": [], "different": [], "untimed": [], "says": None},
    }


def test_what_is_missing_is_said_and_is_bad_news(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth")
    (folder / place / "frames" / "c.1.0.0").unlink()
    assert reader.run("catalog", str(folder)).code == 0, "nobody looked"
    said = reader.run("catalog", str(folder), "--check")
    assert said.code == 1
    assert " damaged " in said.out
    assert "  1 chunk of 3 missing: 1" in said.out.splitlines()
    assert reader.run("catalog", str(folder), "--check", "--json").json()["streams"][0]["checked"]["missing"] == [
        [1, 1]
    ]


def test_digests_find_what_only_reading_can_find(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth")
    path = folder / place / "frames" / "c.2.0.0"
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    assert reader.run("catalog", str(folder), "--check").code == 0
    said = reader.run("catalog", str(folder), "--digests")
    assert said.code == 1
    assert "not what was delivered: 2; chunk 2: " in " ".join(said.out.split())


def test_a_chunk_that_is_not_there_yet_is_no_bad_news(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth", sealed=False)
    (folder / place / "frames" / "c.0.0.0").unlink()
    said = reader.run("catalog", str(folder), "--check")
    assert said.code == 0
    assert "1 chunk of 3 skipped, or not there: 0" in said.out


def test_a_damaged_proof_is_bad_news(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth")
    Path(f"{folder / place}.proof.json").write_text("{}")
    said = reader.run("catalog", str(folder))
    assert said.code == 1
    assert "its proof does not hold: it is no proof of framespool's" in said.out


def test_only_what_is_asked_for_is_listed_and_damage_of_unknown_age_with_it(
    site: Site, folder: Path, reader: Reader
) -> None:
    early = site.grow("early", physical_sample="A")
    late = site.grow("late", physical_sample="b", began_ms=NOVEMBER_14_MS + DAY_MS)
    hurt = site.grow("hurt", physical_sample="A")
    (folder / hurt / "zarr.json").unlink()
    zarr.create_group(folder / "theirs.zarr")

    def places(*options: str) -> set[str]:
        return {one["path"] for one in reader.run("catalog", str(folder), "--json", *options).json()["streams"]}

    assert places() == {early, late, hurt, "theirs.zarr"}
    assert places("--since", "2023-11-15") == {late, hurt}
    assert places("--since", "2023-11-15T22:14") == {hurt}
    assert places("--sample", "a") == {early, hurt}
    assert places("--sample", "B", "--since", "2023-11-15T00:00") == {late, hurt}


def test_foreign_text_moves_no_terminal(site: Site, folder: Path, reader: Reader) -> None:
    place = site.grow("growth", sealed=False)
    document = json.loads((folder / place / "zarr.json").read_bytes())
    document["attributes"].update(name="\x1b[2Jcleared\nand more", physical_sample="\u202e")
    (folder / place / "zarr.json").write_text(json.dumps(document))
    (folder / place).rename(folder / "\x1b[31mred")
    said = reader.run("catalog", str(folder))
    assert "\x1b" not in said.out
    assert "?[2Jcleared and more" in said.out
    assert "?[31mred" in said.out


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://example.invalid", "is a server, which has a catalogue of its own"),
        ("nowhere", "there is no folder"),
        ("s3://BUCKET", "is not s3://BUCKET or s3://BUCKET/PREFIX"),
        ("s3://key:secret@bucket", "must not carry credentials"),
    ],
)
def test_what_cannot_be_listed_is_said(reader: Reader, url: str, says: str) -> None:
    said = reader.run("catalog", url)
    assert said.code == 2
    assert says in said.err
    assert "secret" not in said.err


def test_an_empty_folder_has_no_streams(tmp_path: Path, reader: Reader) -> None:
    said = reader.run("catalog", str(tmp_path))
    assert said.code == 0
    assert said.out.startswith("There are no streams below file://")


def test_on_a_terminal_it_says_how_far_it_is(site: Site, folder: Path) -> None:
    pty = pytest.importorskip("pty")  # Windows has none
    site.grow("growth")
    ours, theirs = pty.openpty()
    code = f"from uploader.cli import main; main(['catalog', {str(folder)!r}])"
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 2), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 4096) or b""
        except OSError:  # whoever wrote has ended
            break
    assert os.waitpid(pid, 0)[1] == 0
    os.close(ours)
    assert b"looking at 1" in said


def test_a_worker_is_told_the_layout_on_its_command_line_or_in_the_environment(
    tmp_path: Path, folder: Path, reader: Reader
) -> None:
    site = folder_site(tmp_path, folder)  # it records into the reader's spool
    reader.environment["AS_API_ENDPOINT"] = folder.as_uri()
    site.record("one")
    assert Shell.run(reader, "worker", "--once", "--layout", "garching/{year}/{stream}").code == 0
    site.record("two")
    reader.environment["FRAMESPOOL_LAYOUT"] = "berlin/{stream}"
    assert Shell.run(reader, "worker", "--once").code == 0
    found = reader.run("catalog", str(folder), "--json").json()["streams"]
    berlin, garching = sorted(one["path"] for one in found)
    assert garching.split("/")[:-1] == ["garching", f"{datetime.now(UTC):%Y}"]
    assert garching.split("/")[-1].startswith("one-")
    assert berlin.startswith("berlin/two-")


@pytest.mark.parametrize("command", [("stream", "sim:frames=1"), ("worker", "--once")])
def test_a_layout_that_leads_out_of_the_destination_is_refused(reader: Reader, command: tuple[str, ...]) -> None:
    said = reader.run(*command, "--layout", "../{stream}")
    assert said.code == 2
    assert "'..' is no name that a folder can have everywhere" in " ".join(said.err.split())
    assert not reader.spool.exists()
