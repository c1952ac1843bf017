"""Something done again and again while something else is measured."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def again_and_again(act: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Do it in a thread, with a pause before each time, until what is inside is over."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(every_s):
            act()

    thread = threading.Thread(target=run, name="again-and-again", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
