"""A spool after a night with everything in it, made in seconds: for pictures of the dashboard.

The frames are the simulator's, and every row is written by the spool itself. Only the clock is ours: it walks
through the night up to now.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spool import LeasedStream, Limits, Receipt, Spool, Stream, StreamSettings
from spool.clock import HostClock
from spool.testing import FakeClock
from uploader.sources import Simulator, SimulatorSettings

FPS, CHUNK_SIZE = 10.0, 20
SERVER = "https://ingest.example"
SHARE = "file:///mnt/nas/growths"
BEGAN, ENDED, AGAIN = 60, 170, 290
MISSING = (101, 102, 103)
REFUSED = (40, 87)
UNCONFIRMED = range(120, 135)
_TEMPLATE = StreamSettings(
    name="", destination=SERVER, fps=FPS, rotations_per_min=12.0, chunk_size=CHUNK_SIZE, physical_sample="wafer 8"
)


class Night:
    """The spool while it is made.

    Args:
        root: a new folder.
        began_s: how long before now.
    """

    def __init__(self, root: Path, *, began_s: float) -> None:
        self.now_ms = HostClock().now_ms()
        self.clock = FakeClock(self.now_ms - round(began_s * 1000))
        self.spool = Spool(root, limits=Limits(max_bytes=2_000_000_000, min_free_bytes=0), clock=self.clock)
        self._camera = Simulator(
            SimulatorSettings(
                height=240, width=320, fps=FPS, rotations_per_min=12.0, growth_period_s=9.0, frames=None, seed=4
            )
        )
        self._sets: dict[int, NDArray[np.uint8]] = {}

    def begin(self, name: str, data_id: str, *, also: tuple[str, ...] = ()) -> Stream:
        """A stream, with a copy for each further destination."""
        return self.spool.open_stream(replace(_TEMPLATE, name=name), also=also, data_id=data_id)

    def push(self, stream: Stream, idx: int) -> None:
        """One chunk of two seconds, of the growth as it goes on."""
        frames = self._sets.get(idx)
        if frames is None:
            frames = np.stack([self._camera.frame(idx * CHUNK_SIZE + k) for k in range(CHUNK_SIZE)])
            self._sets[idx] = frames
        self.spool.push(stream.stream_id, idx, frames)

    def lease(self, stream: Stream) -> LeasedStream:
        """For a worker."""
        lease = self.spool.lease(stream.stream_id, "worker", ttl_s=3600)
        assert lease is not None
        return lease

    def deliver(self, lease: LeasedStream, idx: int, *, confirmed: bool = True) -> None:
        """One chunk arrives."""
        chunk = self.spool.chunk(lease.stream_id, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        etag = f"{idx:032x}"
        lease.acknowledge(
            chunk,
            Receipt(
                status=200,
                etag=etag,
                confirmed=confirmed,
                at_ms=self.clock.now_ms(),
                checksums={"md5": etag} if confirmed else {},
                url_path=f"/staged/{lease.stream_id}/frames/c/{idx}/0/0",
                request_ids={"x-amz-request-id": f"{idx:016X}"},
                data_id=self.spool.stream(lease.stream_id).data_id,
            ),
        )

    def trouble(self, lease: LeasedStream, words: str | None) -> None:
        """An outage begins, or ends."""
        event = "trouble_ended" if words is None else "trouble_began"
        lease.note_trouble(words, event=event, detail={"words": words} if words else {"tries": 41})


def make_night(root: Path) -> dict[str, str]:
    """Make the spool; the stream_ids by what is to be seen in them."""
    night = Night(root, began_s=1500)
    over = night.begin("GaAs buffer", "3f0c6c2e-buffer")
    lease = night.lease(over)
    for idx in range(60):
        night.clock.advance_s(2)
        night.push(over, idx)
        night.deliver(lease, idx)
    night.spool.seal(over.stream_id)
    lease.finalize({"words": "ended"})
    lease.release()
    night.spool.prune()
    live = night.begin("InGaAs on GaAs, 31 nm", "9a41d7b0-ingaas", also=(SHARE,))
    copy = night.spool.copies(live.stream_id)[0]
    _grow(night, live, copy)
    night.spool.discard(live.stream_id, [87], why="the shutter was closed")
    night.spool.prune(older_than_s=550)
    idle = night.begin("alignment, beam off", "77aa02-test")
    night.push(idle, 0)
    held = night.lease(idle)
    held.hold("the stream was ended on the server by a person")
    held.release()
    night.spool.close()
    return {"over": over.stream_id, "live": live.stream_id, "copy": copy.stream_id, "held": idle.stream_id}


def _grow(night: Night, live: Stream, copy: Stream) -> None:
    """Two outages, of which the second goes on; the share has everything all the while."""
    lease, other = night.lease(live), night.lease(copy)
    other.part_asked(copy.settings.name, is_name_free=True)
    other.part_opened("2026-11-26-ingaas", unlinked=None)
    sent = 0
    for idx in range(330):
        night.clock.advance_s(2)
        if idx not in MISSING:
            night.push(live, idx)
            night.deliver(other, idx, confirmed=False)
        if idx in (BEGAN, AGAIN):
            night.trouble(lease, "no connection to ingest.example: [Errno 113] (no route to the host)")
        if idx == ENDED:
            night.trouble(lease, None)
        if BEGAN <= idx < ENDED or idx >= AGAIN:
            continue
        allowed = idx if idx < BEGAN else min(idx, BEGAN + 3 * (idx - ENDED))
        for one in range(sent, allowed):
            _settle(night, lease, one)
        sent = max(sent, allowed)


def _settle(night: Night, lease: LeasedStream, idx: int) -> None:
    chunk = night.spool.chunk(lease.stream_id, idx)
    if chunk is not None and idx in REFUSED:
        why = "422: the body is not what was announced"
        lease.attempt_started(chunk)
        lease.attempt_failed(chunk, {"words": why})
        lease.attempt_started(chunk)
        lease.park(chunk, why)
    elif chunk is not None:
        night.deliver(lease, idx, confirmed=idx not in UNCONFIRMED)
