"""A lab's script, driven by the harness: run as a program by the Python of either client.

It needs numpy and the client that it is told to import, and nothing else; but for the import line, both clients
are used in the same way. It obeys one JSON object a line from stdin and answers each with one on stdout; frames
are handed over as a ``.npy`` file. Every time is taken here, around the call itself.
"""

import argparse
import json
import sys
import threading
import time
from typing import Any

import numpy as np


class Driver:
    """One process with one streamer."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._streamer: Any = None
        self._data_ids: list[str] = []
        self._next_idx: list[int] = []
        self._frames: Any = None
        self._began_s: float | None = None

    def load(self, *, path: str) -> dict[str, Any]:
        """Take these frames for every chunk from now on."""
        self._frames = np.load(path)
        return {"shape": list(self._frames.shape)}

    def open(
        self, *, url: str, key: str, spool: str, worker: str, fps: float, chunk_size: int, streams: int
    ) -> dict[str, Any]:
        """Open a spool and so many streams."""
        if self._client == "atomscale":
            from atomscale.streaming.rheed_stream import (  # type: ignore[import-not-found] # noqa: PLC0415
                RHEEDStreamer,
            )

            self._streamer = RHEEDStreamer(api_key=key, endpoint=url, verbosity=0, spool_dir=spool)
        else:
            from uploader import RHEEDStreamer as Ours  # noqa: PLC0415 - either, not both

            kinds: Any = {"worker": worker}
            self._streamer = Ours(api_key=key, endpoint=url, verbosity=0, spool_dir=spool, **kinds)
        for number in range(streams):
            opened = self._streamer.initialize(fps, 0.0, chunk_size, stream_name=f"bench {number}")
            self._data_ids.append(opened)
            self._next_idx.append(0)
        return {"data_ids": self._data_ids}

    def push(self, *, chunks: int, every_s: float | None, counts: bool) -> dict[str, Any]:
        """Push so many chunks to every stream, the streams side by side.

        A chunk that comes every so often is due at its time: what is told is the time from then until the push
        has returned, so that a push that is late because the one before took too long is told as late.
        """
        if counts and self._began_s is None:
            self._began_s = time.perf_counter()
        took: list[list[float]] = [[] for _ in self._data_ids]
        failed: list[str] = []

        def one_camera(stream: int) -> None:
            try:
                due = time.perf_counter()
                for _ in range(chunks):
                    time.sleep(max(0.0, due - time.perf_counter()))
                    begun = time.perf_counter() if every_s is None else due
                    self._streamer.push(self._data_ids[stream], self._next_idx[stream], self._frames)
                    took[stream].append(time.perf_counter() - begun)
                    self._next_idx[stream] += 1
                    due += every_s or 0.0
            except Exception as error:  # noqa: BLE001 - told to the harness, which gives up
                failed.append(f"{type(error).__name__}: {error}")

        if len(self._data_ids) == 1:
            one_camera(0)
        else:
            cameras = [threading.Thread(target=one_camera, args=(one,)) for one in range(len(self._data_ids))]
            for one in cameras:
                one.start()
            for one in cameras:
                one.join()
        if failed:
            return {"failed": "; ".join(failed)}
        return {"push_s": took}

    def finalize(self) -> dict[str, Any]:
        """End the streams, and wait until they are; the time is that since the first push that counts."""
        for data_id in self._data_ids:
            self._streamer.finalize(data_id)
        assert self._began_s is not None
        return {"since_first_push_s": time.perf_counter() - self._began_s}

    def seal(self) -> dict[str, Any]:
        """Ask for the end of the streams, and wait for nothing; only ours can."""
        for data_id in self._data_ids:
            self._streamer.finalize(data_id, drain_timeout_s=0)
        self._streamer.close()
        return {}


def main() -> None:
    """Obey until stdin ends."""
    parser = argparse.ArgumentParser(description="A lab's script, driven by the harness.")
    parser.add_argument("client", choices=["framespool", "atomscale"])
    driver = Driver(parser.parse_args().client)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(driver, order.pop("do"))(**order)
        except Exception as error:  # noqa: BLE001 - told to the harness, which gives up
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
