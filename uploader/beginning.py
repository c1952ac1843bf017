"""Beginning a stream while a person, or a camera, waits: on the server within a few seconds, or here without it.

What the server refuses is raised at once: a person is there. When it cannot be reached in time the stream begins
here, and a worker opens it on the server later; see `uploader.parts`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spool import StreamSettings
from uploader import opening
from uploader.addresses import folder_of
from uploader.api import AtomscaleApi
from uploader.clock import ClockMeasurement, measure
from uploader.destinations.stores.folder import mark
from uploader.errors import KeyRefused, RequestRefused, ServerUnreachable
from uploader.keys import Keys
from uploader.parts import NOT_YET

_NAMESAKES_S = 1.5
"""A large catalogue must not be what the recording waits for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """How far the server got.

    Attributes:
        data_id: its id for the stream; ``None`` when it did not get so far.
        links: what the stream is linked to there.
        unlinked: why it is not linked yet, if it is to be.
        asked: the server may have opened the stream, but its answer did not come.
        is_name_free: see `spool.Part`.
        clock: its clock against ours, if that could be measured.
        why: what kept the server; ``None`` when nothing did.
    """

    data_id: str | None
    links: dict[str, Any]
    unlinked: str | None
    asked: bool
    is_name_free: bool
    clock: ClockMeasurement | None
    why: str | None


def begin(
    endpoint: str,
    keys: Keys | None,
    settings: StreamSettings,
    *,
    timeout_s: float,
    knows: Callable[[str], bool],
    reads_clock: bool,
) -> Begun:
    """Open a stream on the server, for at most so long; in a store of objects its worker opens it.

    Args:
        endpoint: where streams go.
        keys: the API key, and those that may follow it; ``None`` for a store, which wants none.
        settings: of the stream.
        timeout_s: how long to wait; 0 for not asking at all.
        knows: whether a data_id is of a stream of this spool.
        reads_clock: whether the clock is measured as well.

    Raises:
        KeyRefused, RequestRefused: the server answered, and said no; nothing is open.
    """
    if keys is None:
        why = Marking([endpoint], timeout_s).why_not(endpoint)
        return Begun(data_id=None, links={}, unlinked=None, asked=False, is_name_free=False, clock=None, why=why)
    attempt = _Attempt(settings, knows)
    if timeout_s > 0:
        thread = threading.Thread(
            target=attempt.run, args=(endpoint, keys, timeout_s, reads_clock), name="framespool-open", daemon=True
        )
        thread.start()
        thread.join(timeout_s)
    return attempt.give_up(timeout_s)


class Marking:
    """Marks folders as destinations, side by side, because a person is here now.

    A share whose server is gone keeps whoever asks: each is a thread that may be left behind.

    Args:
        urls: of any destinations; only folders are marked.
        timeout_s: how long all of them are waited for, from now on.
    """

    def __init__(self, urls: Iterable[str], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        self._found: dict[str, str | None] = {}
        self._threads: dict[str, threading.Thread] = {}
        for url in urls:
            if (folder := folder_of(url)) is not None:
                thread = threading.Thread(
                    target=self._mark, args=(url, folder), name="framespool-open", daemon=True
                )
                self._threads[url] = thread
                thread.start()

    def why_not(self, url: str) -> str | None:
        """Why that could not be done in time; ``None`` when it is done, or there was nothing to do."""
        if url not in self._threads:
            return None
        self._threads[url].join(max(0.0, self._deadline_s - time.monotonic()))
        return self._found.get(url, _no_answer(self._timeout_s))

    def _mark(self, url: str, folder: Path) -> None:
        try:
            self._found[url] = None if mark(folder) else f"{folder.parent} is not there"
        except OSError as error:
            self._found[url] = f"{folder}: {error.strerror or error}"


def _no_answer(timeout_s: float) -> str:
    return f"there was no answer within {timeout_s:g} s"


class _GivenUp(Exception):
    """The recording has begun without the server."""


@dataclass(slots=True)
class _Attempt:
    """One opening, in a thread that may be left behind: looking a name up cannot be interrupted."""

    settings: StreamSettings
    knows: Callable[[str], bool]
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_given_up: bool = False
    is_name_free: bool = False
    asked: bool = False
    data_id: str | None = None
    links: opening.Links | None = None
    clock: ClockMeasurement | None = None
    error: Exception | None = None

    def run(self, endpoint: str, keys: Keys, timeout_s: float, reads_clock: bool) -> None:
        """Take the steps, as far as somebody waits for them."""
        try:
            self._look_for_namesakes(endpoint, keys, min(timeout_s, _NAMESAKES_S))
            with AtomscaleApi(endpoint, keys, timeout_s=timeout_s) as api:
                self._open(api)
                if reads_clock:
                    self.clock = measure(api)
        except _GivenUp:
            pass
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            self.error = error

    def give_up(self, timeout_s: float) -> Begun:
        """What is known now; from now on the thread begins nothing."""
        with self.lock:
            self.is_given_up = True
            error, data_id, links = self.error, self.data_id, self.links
        if error is not None and not isinstance(error, ServerUnreachable):
            raise error
        settings = self.settings
        is_to_be_linked = links is None and bool(settings.physical_sample or settings.tags)
        why = str(error) if error is not None else _no_answer(timeout_s)
        return Begun(
            data_id=data_id,
            links={} if links is None else links.facts(),
            unlinked=NOT_YET if data_id is not None and is_to_be_linked else None,
            asked=self.asked and data_id is None,
            is_name_free=self.is_name_free,
            clock=self.clock,
            why=None if data_id is not None else why,
        )

    def _look_for_namesakes(self, endpoint: str, keys: Keys, timeout_s: float) -> None:
        with AtomscaleApi(endpoint, keys, timeout_s=timeout_s) as api:
            try:
                found = opening.namesakes(api, self.settings.name)
            except (KeyRefused, RequestRefused):
                return  # what follows says it better
            except ServerUnreachable as error:
                if error.is_outage and not error.was_slow:
                    raise  # nothing that follows would get through either
                return
        self.is_name_free = all(self.knows(one.data_id) for one in found)

    def _open(self, api: AtomscaleApi) -> None:
        links = opening.resolve(api, self.settings)
        with self.lock:
            self._must_be_awaited()
            self.asked = True
        try:
            data_id = opening.create(api, self.settings, self.settings.name)
        except (KeyRefused, RequestRefused):
            self.asked = False
            raise
        except ServerUnreachable as error:
            self.asked = error.was_sent
            raise
        with self.lock:
            if self.is_given_up and not self.is_name_free:
                opening.end_again(api, data_id)  # nobody could find it again
            self._must_be_awaited()
            self.data_id = data_id
        try:
            opening.link(api, data_id, links)
        except ServerUnreachable as error:
            _log.warning("%s is not linked yet: %s", data_id, error)
        except BaseException as error:
            with self.lock:
                if self.is_given_up:
                    # Its recording has begun: the worker owes it the link, and says what is wrong.
                    _log.warning("%s is not linked yet: %s", data_id, error)
                    raise _GivenUp from error
                self.data_id, self.asked = None, False
            opening.end_again(api, data_id)
            raise
        else:
            self.links = links

    def _must_be_awaited(self) -> None:
        if self.is_given_up:
            raise _GivenUp
