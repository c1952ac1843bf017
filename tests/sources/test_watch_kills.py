"""A program writes 50 files a second, and whoever takes them is killed again and again: each comes once."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("watch_script.py")
ROOT = Path(__file__).parents[2]
FILES = 250

WRITER = """
import os, sys, time
import numpy as np
from PIL import Image
folder, count = sys.argv[1], int(sys.argv[2])
began = time.monotonic()
for k in range(count):
    time.sleep(max(0, began + k / 50 - time.monotonic()))
    image = Image.fromarray(np.random.default_rng(k).integers(0, 256, (48, 64), dtype=np.uint8))
    path = f"{folder}/f{k}" + (".bmp", ".png")[k % 2]
    if k % 3:
        image.save(path)  # in pieces, as it comes
    else:
        image.save(path + ".part", format="bmp" if k % 2 == 0 else "png")
        os.rename(path + ".part", path)
open(f"{folder}/DONE", "w").close()
"""


def test_every_file_comes_exactly_once_and_in_order_through_kills(tmp_path: Path) -> None:
    folder, spool = tmp_path / "frames", tmp_path / "spool.jsonl"
    folder.mkdir()
    chance = random.Random(7)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(FILES)])
    command = [sys.executable, str(SCRIPT), f"watch:{folder}?settle=0.1s&until=DONE", str(spool)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills, told = 0, b""
    with writer:
        while True:
            with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as reader:
                try:
                    # Killing at chance moments is the point: what must hold does not depend on when.
                    _, told = reader.communicate(timeout=None if kills >= 4 else chance.uniform(0.5, 1.5))
                    assert reader.returncode == 0, told
                    break
                except subprocess.TimeoutExpired:
                    reader.kill()
                    kills += 1
    assert kills
    assert told == b""
    lines = [json.loads(line) for line in spool.read_text("utf-8").splitlines()]
    names = [line["file"]["name"] for line in lines]
    assert names == [f"f{k}.{('bmp', 'png')[k % 2]}" for k in range(FILES)]
    for k, line in enumerate(lines):
        pixels = np.random.default_rng(k).integers(0, 256, (48, 64), dtype=np.uint8)
        assert line["pixels"] == hashlib.sha256(pixels.tobytes()).hexdigest()
        assert line["file"]["sha256"] == hashlib.sha256((folder / names[k]).read_bytes()).hexdigest()
