"""Callback mode: your own loop pushes chunks. Only the import differs from the vendor's client."""

import time

import numpy as np

from uploader import RHEEDStreamer

streamer = RHEEDStreamer()  # AS_API_KEY, and AS_API_ENDPOINT if it is not the vendor's server

data_id = streamer.initialize(
    fps=120.0,
    rotations_per_min=15.0,
    chunk_size=240,
    stream_name="callback mode",
    physical_sample="demo wafer",
)

camera = np.random.default_rng(0)
for chunk_idx in range(5):
    frames = camera.integers(0, 256, (240, 300, 500), dtype=np.uint8)  # two seconds from your camera
    streamer.push(data_id, chunk_idx, frames)
    time.sleep(2)

report = streamer.finalize(data_id)
print(dict(report))
