"""key, proof and check: the audit in a file that travels, held against what arrived."""

import functools
import http.server
import threading
from pathlib import Path

import pytest

from spool import Spool
from tests.cli.shell import Reader, Shell
from tests.cli.test_reading import acknowledge, record
from tests.cli.test_streaming import SMALL
from uploader.loopback.process import LoopbackServer


@pytest.fixture
def delivered(shell: Shell, server: LoopbackServer, tmp_path: Path) -> tuple[Path, Path]:
    """A proof of a stream that was delivered for real, and where the server keeps what it got."""
    assert shell.run("stream", SMALL, "--name", "growth").code == 0
    proof = tmp_path / "growth.proof"
    said = shell.run("proof", "growth", "-o", str(proof))
    assert said.code == 0, said
    assert "Not signed" in said.out
    data_id = shell.run("audit", "growth", "--json").json()["data_id"]
    return proof, server.root / "received" / data_id / "objects"


def test_a_proof_is_checked_against_what_the_server_got(reader: Shell, delivered: tuple[Path, Path]) -> None:
    proof, there = delivered
    elsewhere = reader.without("ATOMSCALE_SPOOL_DIR", "AS_API_KEY")
    said = elsewhere.run("check", str(proof), "--received", str(there))
    assert said.code == 0, said
    assert "COMPLETE: all 3 chunks acknowledged and confirmed by checksum; finalized." in said.out
    assert "The proof holds: " in said.out
    assert "THE SAME: 3 chunks arrived exactly as recorded." in said.out
    assert elsewhere.run("check", str(proof)).out.endswith("--received says where it is.\n")


def test_what_arrived_otherwise_or_not_at_all_is_named(reader: Shell, delivered: tuple[Path, Path]) -> None:
    proof, there = delivered
    chunks = there / "frames.zarr" / "frames" / "c"
    content = bytearray((chunks / "1" / "0" / "0").read_bytes())
    content[0] ^= 1
    (chunks / "1" / "0" / "0").write_bytes(content)
    (chunks / "2").rename(chunks / "7")
    said = reader.run("check", str(proof), "--received", str(there))
    assert said.code == 1
    assert "* chunk 1: its frames differ: frame 0, in bytes 0 to" in said.out
    assert "- chunk 2: it was acknowledged, and is not there" in said.out
    assert "+ chunk 7: nothing is known of it here" in said.out
    assert "DIFFERENT: 1 chunk arrived as recorded, 3 did not." in said.out
    told = reader.run("check", str(proof), "--received", str(there), "--json").json()
    assert [(one["symbol"], one["chunk_idx"]) for one in told["received"]] == [
        ("=", 0), ("*", 1), ("-", 2), ("+", 7),
    ]  # fmt: skip


def test_an_audit_is_held_against_what_arrived_without_a_proof(
    reader: Reader, delivered: tuple[Path, Path]
) -> None:
    _, there = delivered
    said = reader.run("audit", "growth", "--received", str(there))
    assert said.code == 0, said
    assert said.out.endswith("THE SAME: 3 chunks arrived exactly as recorded.\n")
    (there / "frames.zarr" / "frames" / "c" / "1").rename(there / "frames.zarr" / "frames" / "c" / "9")
    said = reader.run("audit", "growth", "--received", str(there), "--json")
    assert said.code == 1, "the stream is complete, but not there"
    told = said.json()
    assert told["complete"] is True
    assert [(one["symbol"], one["chunk_idx"]) for one in told["received"]] == [
        ("=", 0), ("-", 1), ("=", 2), ("+", 9),
    ]  # fmt: skip
    assert reader.run("audit", "growth", "--received", str(there), "--csv").code == 2


def test_what_arrived_can_be_read_from_a_url(reader: Shell, delivered: tuple[Path, Path]) -> None:
    proof, there = delivered

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(there))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{files.server_port}"
        assert reader.run("check", str(proof), "--received", url).code == 0
        (there / "frames.zarr/frames/c/2/0/0").unlink()
        said = reader.run("check", str(proof), "--received", url)
        files.shutdown()
    assert said.code == 1
    assert "- chunk 2: it was acknowledged, and is not there" in said.out
    away = reader.run("check", str(proof), "--received", url)
    assert away.code == 1
    assert "could not be read" in away.err


def test_a_spool_folder_is_what_was_recorded_too(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0, 1)
    for idx in (0, 1):
        acknowledge(spool, stream, idx)
    proof = tmp_path / "a.proof"
    assert reader.run("proof", "data-1", "-o", str(proof), "--json").json()["complete"] is True
    where = str(spool.zarr_path(stream.stream_id))
    assert reader.run("check", str(proof), "--received", where).code == 0


def test_a_signature_says_who_and_another_is_not_taken(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0)
    acknowledge(spool, stream, 0)
    key, proof = tmp_path / "lab.pem", tmp_path / "a.proof"
    made = reader.run("key", str(key))
    public = made.out.split()[-1]
    assert "BEGIN PRIVATE" not in made.out
    assert reader.run("key", str(key), "--show", "--json").json()["public_key"] == public
    assert reader.run("key", str(key)).code == 1, "it is never overwritten"
    said = reader.run("proof", "data-1", "-o", str(proof), "--sign", str(key))
    assert f"Signed by   {public}" in said.out
    assert reader.run("check", str(proof), "--signed-by", public.upper()).code == 0
    other = reader.run("check", str(proof), "--signed-by", "0" * 64)
    assert other.code == 1
    assert f"it is signed by {public}, not by 0000" in other.err
    assert reader.run("check", str(proof), "--signed-by", "me").code == 2


def test_a_proof_that_was_changed_says_where(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0)
    acknowledge(spool, stream, 0)
    proof = tmp_path / "a.proof"
    assert reader.run("proof", "data-1", "-o", str(proof)).code == 0
    again = reader.run("proof", "data-1", "-o", str(proof))
    assert again.code == 1
    assert "never overwritten" in again.err
    proof.write_bytes(proof.read_bytes().replace(b'\\"status\\":200', b'\\"status\\":201'))
    said = reader.run("check", str(proof))
    assert said.code == 1
    assert "was changed" in said.err
    told = reader.run("check", str(proof), "--json")
    assert (told.code, told.json()["holds"]) == (1, False)


def test_a_proof_of_an_incomplete_stream_holds_and_is_bad_news(
    reader: Shell, spool: Spool, tmp_path: Path
) -> None:
    record(spool, 0, 2)
    proof = tmp_path / "a.proof"
    assert reader.run("proof", "data-1", "-o", str(proof)).code == 0
    said = reader.run("check", str(proof))
    assert said.code == 1
    assert "The proof holds" in said.out
    assert "NOT COMPLETE: 2 waiting, 1 never pushed." in said.out


def test_a_folder_without_or_with_too_many_chunks_is_said(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    record(spool, 0)
    proof = tmp_path / "a.proof"
    assert reader.run("proof", "data-1", "-o", str(proof)).code == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no chunk" in reader.run("check", str(proof), "--received", str(empty)).err
    for name in ("a", "b"):
        path = empty / name / "c" / "0" / "0" / "0"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    said = reader.run("check", str(proof), "--received", str(empty))
    assert said.code == 2
    assert "has two chunks 0" in said.err
