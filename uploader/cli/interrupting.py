"""Ctrl-C and SIGTERM as a request: the first one is polite, the second one is not."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stops_on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first interrupt inside the block; the second one raises `KeyboardInterrupt`."""
    asked = False

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def wakes_on_signals(wake: Callable[[], None]) -> None:
    """Call ``wake`` in a thread of its own at every signal from now on, for as long as the process lives.

    Python runs a signal's function once the main thread does something, and not while it waits: on Windows for
    all the wait, elsewhere when the signal came in the very moment in which it began. So somebody ends the wait.
    """
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)

    def listen(_kept_open: socket.socket) -> None:
        while hears.recv(64):
            wake()

    threading.Thread(target=listen, args=(tells,), name="framespool-signals", daemon=True).start()
