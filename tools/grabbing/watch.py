"""A folder that another process fills, and a recording of it that is killed at random: each file once."""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.grabbing.camera import Found
from tools.grabbing.session import Session, outages, session
from tools.grabbing.stamped import dots, numbers_in, stamp

_END_S = 900.0
_SHAPE = (96, 128)


def watch(work: Path, *, files: int, rate: float, seed: int, kills: bool) -> Found:
    """Fill a folder, record it, judge.

    Args:
        work: an empty folder.
        files: how many images.
        rate: so many a second.
        seed: of what happens.
        kills: whether the recording is killed now and then.
    """
    folder, dice = work / "images", random.Random(seed)  # noqa: S311 - no secret
    folder.mkdir()
    with session(work) as one:
        writer = subprocess.Popen(
            [sys.executable, "-m", "tools.grabbing.watch", str(folder), str(files), str(rate)], cwd=Path.cwd()
        )
        options = (
            "--go-on",
            "--fps",
            str(rate),
            "--chunk-time",
            "0.5",
            "--chunk-size",
            str(max(2, round(2 * rate))),
        )
        command = ("record", f"watch:{folder}", *options)
        with outages(one, every_s=(3.0, 12.0), lasting_s=(0.5, 4.0), seed=seed):
            while kills and writer.poll() is None:
                process = one.start(*command)
                time.sleep(dice.uniform(1.0, 5.0))
                one.kill(process)
        writer.wait()
        process = one.start(*command, "--for", f"{max(5.0, files / rate / 10)}s", "--drain-timeout", "600")
        said = process.communicate(timeout=_END_S)[0]
        ref = one.only_stream()
        told = one.audit(ref)
        problems = (
            [] if process.returncode == 0 else [f"framespool record ended with {process.returncode}: {said}"]
        )
        problems += _once(one, told, folder, files)
        killed = f"{one.kills['record']} kills of the recording, {one.kills['worker']} of the worker"
        lines = [one.summary(ref), f"{killed}; {len(one.strikes)} outages"]
        return Found(problems=problems, lines=lines)


def _once(one: Session, told: dict[str, Any], folder: Path, files: int) -> list[str]:
    problems = [] if told["complete"] and told["state"] == "finalized" else [f"the stream is {told['state']}"]
    names = [file["name"] for chunk in told["chunks"] for file in chunk["capture"]["files"]]
    if names != [_name(number) for number in range(1, files + 1)]:
        missing = {_name(number) for number in range(1, files + 1)} - set(names)
        problems.append(f"{len(names)} files in the ledger, {len(set(names))} different, {len(missing)} missing")
    received = one.server.received(told["data_id"])
    size = (received.shards or received.chunks)[0]
    seen = 0
    for chunk in told["chunks"]:
        start = chunk["chunk_idx"] * size
        frames = np.asarray(received[start : start + chunk["n"]])
        numbers = numbers_in(frames)
        if numbers != list(range(seen + 1, seen + 1 + chunk["n"])):
            problems.append(f"chunk {chunk['chunk_idx']} at the far end: {numbers[:3]} … after {seen}")
        for frame, number in zip(frames, numbers, strict=True):
            path = folder / _name(number)
            if not path.exists() or not np.array_equal(np.asarray(Image.open(path)), frame):
                problems.append(f"{path.name} has other pixels at the far end")
        seen += chunk["n"]
    return problems


def _name(number: int) -> str:
    return f"img_{number}.bmp"


def _write(folder: Path, files: int, rate: float) -> None:
    """What a vendor's program does: it writes, in place, one file after the other."""
    began_s = time.monotonic()
    for number in range(1, files + 1):
        time.sleep(max(0.0, began_s + number / rate - time.monotonic()))
        frame = dots(*_SHAPE, seed=number % 8)
        stamp(frame, number)
        Image.fromarray(frame).save(folder / _name(number))


if __name__ == "__main__":
    _write(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
