"""A lab's own camera for framespool: it sends each picture as a UDP packet, with its number before the pixels."""

import socket

import numpy as np

from uploader.sources.camera import Begun, Camera
from uploader.sources.live import Grabbed, Wanted


class MyCamera(Camera):
    """64 x 64 pixels; a number that is skipped is counted as a frame that the camera has lost."""

    def begin(self) -> Begun:
        """Listen at the port that stands behind the colon."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.undo(self.socket.close)
        self.socket.bind(("127.0.0.1", int(self.wish)))
        return Begun(name=f"mycamera {self.wish}", shape=(64, 64), frame_rate=None, facts={"port": int(self.wish)})

    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """The picture in the next packet."""
        self.socket.settimeout(timeout_s)
        try:
            packet = self.socket.recv(65536)
        except TimeoutError:
            return None
        pixels = np.frombuffer(packet, np.uint8, offset=8).reshape(64, 64).copy()
        return Grabbed(frame=pixels, number=int.from_bytes(packet[:8], "big"))


def open_mycamera(rest: str, wanted: Wanted) -> MyCamera:  # noqa: ARG001 - it cannot be set up
    """What stands behind ``mycamera:`` is the port."""
    return MyCamera("UDP camera", rest)
