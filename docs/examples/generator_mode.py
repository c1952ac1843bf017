"""Generator mode: hand over an iterator of chunks. Only the import differs from the vendor's client."""

import time
from collections.abc import Iterator

import numpy as np

from uploader import RHEEDStreamer


def frames_from_the_camera() -> Iterator[np.ndarray]:
    """Two seconds of frames at a time."""
    camera = np.random.default_rng(0)
    for _ in range(5):
        yield camera.integers(0, 256, (20, 1038, 1388), dtype=np.uint8)
        time.sleep(2)


streamer = RHEEDStreamer()  # AS_API_KEY, and AS_API_ENDPOINT if it is not the vendor's server

data_id = streamer.initialize(fps=10.0, rotations_per_min=0.0, chunk_size=20, stream_name="generator mode")
streamer.run(data_id, frames_from_the_camera())
report = streamer.finalize(data_id)
print(dict(report))
