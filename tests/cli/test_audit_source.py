"""The audit reaches back to the camera: what it captured, what was lost on the way, and when it was away."""

from spool import Capture, Loss, LossCause, Spool
from spool.testing import FakeClock, some_frames, some_settings
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge

BEGAN_MS = 1_700_100_847_000  # 02:14:07 UTC


def told(spool: Spool, clock: FakeClock) -> str:
    """Two chunks of four frames: three frames dropped in the first, one overflow in the second, two at the end."""
    stream = spool.open_stream(some_settings(name="growth"))
    clock.set_ms(BEGAN_MS)
    spool.record("source_started", ref=stream.stream_id, name="acA1300 (2271)", facts={"model": "acA1300"})
    dropped = Loss(cause=LossCause.SOURCE, frames=3, at_ms=BEGAN_MS, after=2)
    spool.push(stream.stream_id, 0, some_frames(), capture=Capture(first=1, last=7, losses=(dropped,)))
    clock.advance_s(10)
    spool.record("source_lost", ref=stream.stream_id, words="the camera was unplugged")
    clock.advance_s(65)
    spool.record("source_back", ref=stream.stream_id)
    overflow = Loss(cause=LossCause.OVERFLOW, frames=1, at_ms=BEGAN_MS + 80_000, after=1)
    spool.push(stream.stream_id, 1, some_frames(seed=1), capture=Capture(first=1, last=5, losses=(overflow,)))
    spool.record("source_notice", ref=stream.stream_id, what="file_changed", words="img_7.bmp was written again")
    behind = {"cause": "source", "frames": 2, "at_ms": BEGAN_MS + 90_000, "after": 5}
    spool.record("source_stopped", ref=stream.stream_id, losses=[behind])
    acknowledge(spool, stream, 0)
    return stream.stream_id


def test_one_line_goes_from_the_camera_to_the_server(reader: Shell, spool: Spool, clock: FakeClock) -> None:
    stream_id = told(spool, clock)
    text = " ".join(reader.run("audit", stream_id).out.split())
    assert (
        "Source acA1300 (2271): 14 captured, 5 dropped by the source at 2 times from 02:14:07 to 02:15:37,"
        " 1 lost here, because the computer was too slow at 02:15:27, 8 spooled, 4 confirmed"
    ) in text
    assert "Away 2023-11-16 02:14:17, for 1 min 05 s: the camera was unplugged" in text
    assert "Notice 2023-11-16 02:15:22: img_7.bmp was written again" in text
    found = reader.run("audit", stream_id, "--json").json()
    assert found["chunks"][0]["capture"]["last"] == 7
    source = found["source"]
    assert (source["frames_captured"], source["frames_spooled"]) == (14, 8)
    assert source["frames_lost"] == {"source": 5, "overflow": 1}
    assert [(one["frames"], one["after"]) for one in source["losses"]] == [(3, 2), (1, 1), (2, 5)]
    assert source["pauses"][0]["ended_at_ms"] - source["pauses"][0]["began_at_ms"] == 65_000


def test_the_copy_of_a_stream_tells_of_its_source_too(reader: Shell, spool: Spool) -> None:
    stream = spool.open_stream(some_settings(), also=["file:///far"])
    spool.record("source_started", ref=stream.stream_id, name="a camera", facts={})
    spool.push(stream.stream_id, 0, some_frames(), capture=Capture(first=1, last=4))
    (copy,) = spool.copies(stream.stream_id)
    said = reader.run("audit", copy.stream_id)
    assert "a camera: 4 captured, 4 spooled, 0 confirmed" in " ".join(said.out.split())
