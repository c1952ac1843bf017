"""Server-sent events: what has changed, to each browser as fast as it takes it.

Nothing is queued for anybody: a message is made when the one before has gone out, of everything that changed
meanwhile. A browser that does not read costs one message, kept by its connection.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import anyio.to_thread

from uploader.dashboard.watch import Watch

FEEDS_MAX = 40
"""The browser needs one for all its pages."""
AT_MOST_EVERY_S = 0.25
HEARTBEAT_S = 10.0


class Feeds:
    """The open connections that are told of changes.

    Args:
        watch: what is shown.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._is_ending = False
        self._open: set[asyncio.Event] = set()

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return len(self._open) >= FEEDS_MAX

    def end(self) -> None:
        """Let every connection end: the dashboard stops."""
        self._is_ending = True
        for changed in self._open:
            changed.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Everything, then what changes; a heartbeat when nothing does."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(changed.set)

        self._open.add(changed)
        try:
            with self._watch.listening(tell):
                version = -1
                while not self._is_ending:
                    changed.clear()
                    before, (version, told) = version, await anyio.to_thread.run_sync(self._watch.since, version)
                    if version != before:
                        told["is_all"] = before < 0
                        yield f"data: {json.dumps(told, separators=(',', ':'))}\n\n".encode()
                    await asyncio.sleep(AT_MOST_EVERY_S)
                    try:
                        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            self._open.discard(changed)
