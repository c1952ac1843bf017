"""Take frames from a watched folder into a file, a chunk at a time, until the folder is over.

Used as ``python watch_script.py SOURCE FILE``. The file stands for the spool: a line for each frame, a write for
each chunk. What it tells is remembered at the start. Killed at any moment, it has lost the chunk in its memory.
"""

import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from spool import TakenFile
from uploader.sources.installed import open_live
from uploader.sources.live import Wanted
from uploader.sources.watch import WatchedFolder

CHUNK = 7


def kept(path: Path) -> list[dict[str, object]]:
    """What is in the file; a line that was cut off by a kill is none."""
    text = path.read_text("utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def main(source: str, path: Path) -> None:
    folder = open_live(source, Wanted(fps=50.0))
    assert isinstance(folder, WatchedFolder)
    folder.remember(TakenFile(**line["file"]) for line in kept(path))  # type: ignore[arg-type]
    folder.start()
    chunk: list[str] = []
    spool = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while not folder.is_over:
        frame = folder.grab(0.1)
        if frame is not None:
            assert frame.file is not None
            pixels = hashlib.sha256(frame.frame.tobytes()).hexdigest()
            chunk.append(json.dumps({"file": asdict(frame.file), "pixels": pixels}) + "\n")
        if len(chunk) == CHUNK or (chunk and frame is None):
            os.write(spool, "".join(chunk).encode())
            chunk = []
    folder.stop()
    for notice in folder.notices():
        sys.stderr.write(f"{notice.what}: {notice.words}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
