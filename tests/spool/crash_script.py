"""A process that dies where it is told to.

It reads orders, one JSON object a line: ``root, play, label, at``. For each it forks a child that plays the
play on the spool at ``root`` and is killed (``SIGKILL``) right before the ``at``-th step with that label; it
answers with ``{"status": how the child ended, "done": what had returned by then, "labels": steps taken}``.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from spool import Limits, Receipt, Spool
from spool.testing import FaultyDisk, some_frames, some_reading, some_settings

Say = Callable[[str], None]
RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1)
DATA_ID = "data-1"
PUSHED = (0, 1, 2, 3, 5)


def whole_life(spool: Spool, say: Say) -> None:
    """Everything that can happen to a stream, once."""
    stream_id = spool.open_stream(some_settings(), data_id=DATA_ID).stream_id
    say("open")
    chunks = {}
    for idx in PUSHED:
        chunks[idx] = spool.push(stream_id, idx, some_frames(seed=idx))
        say(f"push {idx}")
    lease = spool.lease(stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.attempt_started(chunks[0])
    lease.acknowledge(chunks[0], RECEIPT)
    say("acknowledge 0")
    lease.park(chunks[1], "refused")
    say("park 1")
    spool.retry(stream_id)
    lease.acknowledge(chunks[1], RECEIPT)
    say("acknowledge 1")
    spool.prune()
    lease.hold("unknown stream")
    spool.retry(stream_id)
    spool.discard(stream_id, [2], why="a test")
    say("discard 2")
    lease.note_trouble("none", event="outage_began")
    lease.acknowledge(chunks[3], RECEIPT)
    say("acknowledge 3")
    spool.note_clock(stream_id, some_reading())
    spool.record("exported", ref=stream_id)
    spool.seal(stream_id)
    say("seal")
    lease.acknowledge(chunks[5], RECEIPT)
    say("acknowledge 5")
    lease.finalize({})
    say("finalize")
    lease.release()


ELSEWHERE = "file:///srv/elsewhere"


def life_with_a_copy(spool: Spool, say: Say) -> None:
    """What differs for a stream that goes to two destinations."""
    stream = spool.open_stream(some_settings(), also=[ELSEWHERE], data_id=DATA_ID)
    (copy_id,) = stream.settings.copies
    say("open")
    chunks = {}
    for idx in PUSHED:
        chunks[idx] = spool.push(stream.stream_id, idx, some_frames(seed=idx))
        say(f"push {idx}")
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in PUSHED[:3]:
        lease.acknowledge(chunks[idx], RECEIPT)
        say(f"acknowledge {idx}")
    spool.note_clock(stream.stream_id, some_reading())
    spool.prune()
    spool.discard(copy_id, [5], why="a test")
    spool.seal(stream.stream_id)
    say("seal")
    lease.release()


def one_push(spool: Spool, say: Say) -> None:
    """Push chunk 0 of the only stream."""
    spool.push(DATA_ID, 0, some_frames(seed=0))
    say("push 0")


def another_push(spool: Spool, say: Say) -> None:
    """Push chunk 9 of the only stream."""
    spool.push(DATA_ID, 9, some_frames(seed=9))
    say("push 9")


def only_open(_spool: Spool, say: Say) -> None:
    """Nothing but the recovery that opening does."""
    say("recovered")


PLAYS = {play.__name__: play for play in (whole_life, life_with_a_copy, one_push, another_push, only_open)}


def _play(order: dict[str, str | int], report: int) -> None:
    disk = FaultyDisk()
    if order["label"]:
        disk.kill(str(order["label"]), at=int(order["at"]))

    def say(word: str) -> None:
        os.write(report, f"{word}\n".encode())

    with Spool(Path(str(order["root"])), limits=Limits(min_free_bytes=0), disk=disk) as spool:
        PLAYS[str(order["play"])](spool, say)
    for label in disk.labels():
        os.write(report, f"label {label}\n".encode())


def main() -> None:
    """Serve orders until the input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                _play(order, writing)
            except BaseException as error:  # noqa: BLE001 - the parent must hear of it
                os.write(writing, f"failed: {type(error).__name__}: {error}\n".encode())
                os._exit(1)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as words:
            said = words.read().splitlines()
        _, status = os.waitpid(child, 0)
        answer = {
            "status": os.waitstatus_to_exitcode(status),
            "done": [word for word in said if not word.startswith("label ")],
            "labels": [word.removeprefix("label ") for word in said if word.startswith("label ")],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
