"""`spool.open`: reading a spool without changing it, beside whoever records it, and wherever it lies."""

import hashlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import spool as package
from spool import (
    FramesMissing,
    Receipt,
    ShardDamaged,
    Spool,
    SpoolDamaged,
    SpoolError,
    SpoolView,
    Stream,
    StreamView,
    UnknownStream,
    cells,
)
from spool.reading import FRAMES_MAX
from spool.testing import START_MS, FakeClock, some_frames, some_settings

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=7)
EVIL = "<script>alert('growth')</script>\u202e&\x1b[31m"


@pytest.fixture
def opened(spool: Spool) -> Iterator[SpoolView]:
    with package.open(spool.root) as view:
        yield view


@pytest.fixture
def view(stream: Stream, opened: SpoolView) -> StreamView:
    return opened[stream.stream_id]


def push(spool: Spool, *idxs: int, n: int = 4) -> None:
    for idx in idxs:
        spool.push("data-1", idx, some_frames(n, seed=idx), START_MS + 1000 * idx)


def deliver(spool: Spool, *idxs: int) -> None:
    lease = spool.lease("data-1", "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk("data-1", idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, RECEIPT)


def every_byte(root: Path) -> dict[str, object]:
    """What lies in a folder: names, times, modes and contents."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(root.rglob("*"))
    }


# What it tells ----------------------------------------------------------------------------------------------


def test_streams_are_listed_and_found_like_people_name_them(spool: Spool, opened: SpoolView) -> None:
    assert opened.streams() == []
    first = spool.open_stream(some_settings(name="growth 42"), data_id="data-1")
    second = spool.open_stream(some_settings(name="growth 43"))
    assert [one.stream_id for one in opened] == [first.stream_id, second.stream_id]
    assert opened["growth 42"].stream_id == opened["data-"].stream_id == first.stream_id
    view = opened["data-1"]
    assert (view.name, view.data_id, view.state) == (
        "growth 42",
        "data-1",
        "open",
    )
    assert opened["data-1"].settings == first.settings
    with pytest.raises(UnknownStream, match="no stream 'other'"):
        opened["other"]
    with pytest.raises(UnknownStream, match="by its name or id, not by 0"):
        opened[0]  # type: ignore[index] # as somebody types it


def test_frames_are_a_zarr_array_that_reads_what_is_asked_for(spool: Spool, view: StreamView) -> None:
    push(spool, 0, 1, 2)
    frames = view.frames
    assert (frames.shape, frames.dtype, frames.read_only) == ((12, 12, 16), np.dtype(np.uint8), True)
    (spool.zarr_path("data-1") / "frames" / "c.0.0.0").write_bytes(b"not looked at")
    np.testing.assert_array_equal(frames[9], some_frames(seed=2)[1])
    with pytest.raises(ValueError, match=r"read.only"):
        frames[8] = 0
    push(spool, 3)
    assert view.frames.shape[0] == 16, "asked again, it is longer"


def test_capture_times_and_what_is_here_fit_the_frames(spool: Spool, view: StreamView) -> None:
    push(spool, 0, 1)
    push(spool, 2, n=2)
    push(spool, 4, n=3)
    deliver(spool, 0)
    spool.prune()
    with pytest.warns(FramesMissing, match="chunk 0 of .* zeros"):
        frames = np.asarray(view.frames[:])
    times, here = view.capture_times, view.is_here
    assert frames.shape[0] == len(times) == len(here) == 19
    assert times.dtype == np.dtype("datetime64[us]")
    fps = view.settings.fps
    start = np.datetime64(START_MS, "ms")
    assert times[5] == (start + np.timedelta64(1000, "ms")).astype("datetime64[us]") + round(1e6 / fps)
    assert list(np.flatnonzero(np.isnat(times))) == [10, 11, 12, 13, 14, 15]
    assert list(np.flatnonzero(~here)) == [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]
    assert frames[here].any(axis=(1, 2)).all()
    assert not frames[~here].any()


def test_times_of_chunks_in_several_pages_and_what_comes_meanwhile(
    spool: Spool, view: StreamView, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(spool, 0, 1)
    push(spool, 3, n=2)
    whole, here = view.capture_times, view.is_here
    monkeypatch.setattr(cells, "PLACES", 1)
    np.testing.assert_array_equal(view.capture_times, whole)
    monkeypatch.setattr(Spool, "frame_count", lambda _spool, _ref: 5)  # the rest was pushed since it was read
    np.testing.assert_array_equal(view.capture_times, whole[:5])
    np.testing.assert_array_equal(view.is_here, here[:5])


def test_the_times_are_those_that_a_destination_is_given(spool: Spool, view: StreamView) -> None:
    push(spool, 0)
    expected = np.rint(START_MS * 1000 + np.arange(4) * (1e6 / view.settings.fps)).astype("datetime64[us]")
    np.testing.assert_array_equal(view.capture_times, expected)


def test_a_stream_without_frames_has_an_empty_array(view: StreamView) -> None:
    assert view.frames.shape[0] == len(view.capture_times) == len(view.is_here) == 0


def test_a_stream_of_gaps_is_refused_as_an_array_and_read_by_its_chunks(spool: Spool, view: StreamView) -> None:
    push(spool, 0, FRAMES_MAX // 4)
    with pytest.raises(SpoolError, match="nearly all of which are gaps") as raised:
        _ = view.capture_times
    assert "chunks()" in raised.value.hint
    assert [one.chunk_idx for one in view.chunks()] == [0, FRAMES_MAX // 4]


def test_chunks_receipts_ledger_and_audit(spool: Spool, view: StreamView, opened: SpoolView) -> None:
    push(spool, 0, 1)
    deliver(spool, 0)
    assert [one.chunk_idx for one in view.chunks()] == [0, 1]
    assert list(view.receipts()) == [(0, RECEIPT)]
    assert [one.event for one in view.ledger()] == [
        "opened", "spooled", "spooled", "attempt_started", "acknowledged",
    ]  # fmt: skip
    last = list(opened.ledger())[-1]
    assert list(opened.ledger(after_seq=last.seq - 1)) == [last]
    assert not view.audit().complete
    deliver(spool, 1)
    assert view.audit().complete


def test_a_chunk_is_read_with_its_digest_checked(spool: Spool, view: StreamView) -> None:
    push(spool, 0, 1)
    np.testing.assert_array_equal(view.read(1), some_frames(seed=1))
    with pytest.raises(ShardDamaged, match="chunk 5 was never pushed"):
        view.read(5)
    deliver(spool, 0)
    spool.prune()
    with pytest.raises(ShardDamaged, match=r"pruned|missing"):
        view.read(0)


# Nothing is changed -----------------------------------------------------------------------------------------


def look_at_all(root: Path) -> None:
    with package.open(root) as opened:
        repr(opened), opened._repr_html_()
        for one in opened:
            np.asarray(one.frames[:])
            list(one.chunks()), list(one.ledger()), one.capture_times, one.audit(), repr(one), one._repr_html_()


def test_reading_changes_not_a_byte_and_makes_no_file(spool: Spool, stream: Stream) -> None:
    push(spool, 0, 1)
    # An opening that recovers would sweep this, park a chunk and write the ledger's copy.
    (spool.root / "incoming" / "left").mkdir()
    (spool.root / "incoming" / "left" / "part").write_bytes(b"half a shard")
    shutil.rmtree(spool.root / "workers")
    before = every_byte(spool.root)
    look_at_all(spool.root)
    assert every_byte(spool.root) == before
    assert stream.stream_id


@pytest.mark.parametrize(
    "change",
    [
        lambda opened: opened.push("data-1", 1, some_frames()),
        lambda opened: opened.open_stream(some_settings()),
        lambda opened: opened.seal("data-1"),
        lambda opened: opened.resume("data-1"),
        lambda opened: opened.claim_producer("data-1"),
        lambda opened: opened.lease("data-1", "w", ttl_s=1),
        lambda opened: opened.discard("data-1", [0], why="no"),
        lambda opened: opened.hold("data-1", "no", who="me"),
        lambda opened: opened.record("looked"),
    ],
)
def test_what_would_change_it_is_refused(spool: Spool, stream: Stream, change: object) -> None:
    push(spool, 0)
    before = every_byte(spool.root)
    assert callable(change)
    with Spool(spool.root, read_only=True) as opened, pytest.raises(SpoolError, match="for reading only"):
        change(opened)
    assert every_byte(spool.root) == before
    assert stream.stream_id


PRODUCER = """
import itertools, sys
from spool import Receipt, Spool
from spool.testing import some_frames, some_settings

with Spool(sys.argv[1]) as spool:
    stream = spool.open_stream(some_settings(), data_id="data-1").stream_id
    lease = spool.lease(stream, "worker", ttl_s=60)
    for idx in itertools.count():
        chunk = spool.push(stream, idx, some_frames(seed=idx))
        if idx % 2 == 0:
            lease.acknowledge(chunk, Receipt(status=200, etag="e", confirmed=True, at_ms=1))
        print(idx, flush=True)
"""


def test_beside_a_producer_and_a_worker_it_reads_what_was_pushed_and_stops_neither(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PRODUCER, root], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with package.open(root) as opened:
                view, seen = opened["data-1"], 0
                for _ in range(15):
                    last = int(process.stdout.readline())
                    frames, times = view.frames, view.capture_times
                    assert frames.shape[0] >= seen
                    seen = frames.shape[0]
                    assert seen >= 4 * (last + 1)
                    np.testing.assert_array_equal(frames[4 * last], some_frames(seed=last)[0])
                    assert not np.isnat(times[: 4 * (last + 1)]).any()
                    assert view.audit().watermark >= -1
            assert process.poll() is None
        finally:
            process.kill()


def test_a_killed_producer_leaves_a_spool_that_can_be_read(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PRODUCER, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(5):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    if _is_hot(root):  # killed in a commit, which only an opening that may write undoes
        Spool(root).close()
    with package.open(root) as opened:
        np.testing.assert_array_equal(opened["data-1"].read(last), some_frames(seed=last))


def _is_hot(root: Path) -> bool:
    journal = root / "index.sqlite3-journal"
    return journal.exists() and any(journal.read_bytes()[:8])


# Elsewhere, and what is wrong there ---------------------------------------------------------------------------


def test_a_spool_that_was_moved_is_read_where_it_is(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    push(spool, 0, 1)
    spool.close()
    there = tmp_path / "a disk # 50% full?" / "spool"
    there.parent.mkdir()
    spool.root.rename(there)
    with package.open(str(there)) as opened:
        np.testing.assert_array_equal(opened[stream.stream_id].frames[4:], some_frames(seed=1))
        assert opened.root == there


# Root may write everywhere, so that it is done as nobody.
AS_NOBODY = """
import os, pathlib, sys, zarr, spool
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
try:
    (pathlib.Path(sys.argv[1]) / "mine").touch()
except PermissionError:
    with spool.open(sys.argv[1]) as opened:
        for stream in opened:
            stream.frames[0], stream.read(0)
            print(stream.stream_id, "read")
"""


def test_a_folder_that_cannot_be_written_to_is_read(spool: Spool, stream: Stream) -> None:
    push(spool, 0)
    spool.close()
    folders = [spool.root, *(path for path in spool.root.rglob("*") if path.is_dir())]
    for path in spool.root.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    spool.root.chmod(0o555)
    for parent in spool.root.parents:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    try:
        said = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, spool.root], capture_output=True, text=True, check=False
        )
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert said.stdout == f"{stream.stream_id} read\n", said.stderr


def test_a_change_that_was_cut_off_is_said_with_what_to_do(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    push(spool, 0)
    spool.close()
    # As a copy of the folder that was taken in the middle of a commit: pages written, the journal not undone.
    source = sqlite3.connect(spool.root / "index.sqlite3", isolation_level=None)
    source.execute("PRAGMA cache_size = 1")
    source.execute("BEGIN IMMEDIATE")
    source.execute("UPDATE streams SET trouble = ?", ("x" * 100_000,))
    copy = tmp_path / "copy"
    shutil.copytree(spool.root, copy)
    source.execute("ROLLBACK")
    source.close()
    assert _is_hot(copy)
    with pytest.raises(SpoolError, match="in the middle of a change") as raised:
        package.open(copy)
    assert "framespool status" in raised.value.hint
    Spool(copy).close()
    with package.open(copy) as opened:
        assert opened[stream.stream_id].now.trouble is None


def test_what_is_no_spool_is_said_with_where_one_is(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="there is no spool in") as raised:
        package.open(tmp_path / "nowhere")
    assert "spool_dir" in raised.value.hint
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SpoolError, match="there is no spool") as raised:
        package.open(spool.zarr_path(stream.stream_id))
    assert f"within the spool {spool.root}" in raised.value.hint
    spool.close()
    (spool.root / "index.sqlite3").unlink()
    with pytest.raises(SpoolError, match="there is no spool") as raised:
        package.open(spool.root)
    assert "Its index is lost" in raised.value.hint
    for content, words in ((b"", "is empty"), (b"no database at all " * 500, "cannot be read")):
        (spool.root / "index.sqlite3").write_bytes(content)
        with pytest.raises(SpoolDamaged, match=words):
            package.open(spool.root)


def test_a_stream_without_its_zarr_metadata_says_how_to_mend_that(spool: Spool, view: StreamView) -> None:
    push(spool, 0)
    document = spool.zarr_path("data-1") / "frames" / "zarr.json"
    for content in (None, b"{", b'{"zarr_format": 3, "node_type": "group"}'):
        document.unlink() if content is None else document.write_bytes(content)
        with pytest.raises(SpoolError) as raised:
            _ = view.frames
        assert "verify --repair" in raised.value.hint
    np.testing.assert_array_equal(view.read(0), some_frames(seed=0))


# In a notebook ------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_spool_and_a_stream_show_their_state(spool: Spool, view: StreamView, opened: SpoolView) -> None:
    push(spool, 0, 1)
    deliver(spool, 0)
    lease = spool.lease("data-1", "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble("no connection to h")
    assert repr(view).startswith(f"<stream {view.name!r} {view.stream_id}: open, 12 x 16, 1/2 delivered, no conn")
    assert repr(opened) == (
        f"<spool {str(spool.root)!r}: 1 streams (1 not finalized), 1 chunks waiting (0.0 MiB), no connection to h>"
    )
    text = Tags(view._repr_html_()).text
    for part in ("data-1", "open", "8 12 x 16", "2 pushed, 1 acknowledged", "no connection to h"):
        assert part in text
    assert "1/2" in Tags(opened._repr_html_()).text


def test_whatever_was_typed_or_sent_is_text_in_a_notebook(spool: Spool, opened: SpoolView) -> None:
    stream = spool.open_stream(some_settings(name=EVIL), data_id="data-1")
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble(EVIL)
    for html in (opened._repr_html_(), opened["data-1"]._repr_html_()):
        found = Tags(html)
        assert found.tags <= {"table", "caption", "b", "tr", "td", "th"}
        assert "<script>alert('growth')</script>?&?[31m" in found.text


def test_many_streams_are_counted(spool: Spool, opened: SpoolView) -> None:
    for number in range(53):
        spool.open_stream(some_settings(name=f"growth {number}"))
    text = Tags(opened._repr_html_()).text
    assert "and 3 older" in text
    assert "growth 52" in text


def test_a_closed_spool_still_has_a_repr(spool: Spool, view: StreamView, opened: SpoolView) -> None:
    opened.close()
    for one in (view, opened):
        assert "cannot be read" in repr(one)
        assert "cannot be read" in one._repr_html_()
    with pytest.raises(SpoolError):
        _ = view.state
    assert spool.streams()


def test_the_clock_of_the_one_who_reads_does_not_matter(spool: Spool, view: StreamView, clock: FakeClock) -> None:
    push(spool, 0)
    clock.advance_s(-1e6)
    assert view.capture_times[0] == np.datetime64(START_MS, "ms")
