"""The live source: listing, waiting, reading and checking again, one bounded step at a time."""

from __future__ import annotations

import fnmatch
import re
import struct
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final

from spool import TakenFile
from uploader.outside import printable
from uploader.sources.base import SourceError
from uploader.sources.images import natural_key
from uploader.sources.live import Grabbed, Notice, Wanted
from uploader.sources.pixels import ScalingNeeded
from uploader.sources.watch.checking import Checking
from uploader.sources.watch.listing import Listing, is_temporary
from uploader.sources.watch.looks import Look, Place
from uploader.sources.watch.options import WatchOptions, is_plain, parse_options
from uploader.sources.watch.reading import (
    ChangedWhileRead,
    OtherFile,
    OtherShape,
    Reader,
    bytes_max,
    may_grow,
)
from uploader.sources.watch.taken import Taken
from uploader.sources.watch.telling import Telling
from uploader.sources.watch.waiting import Candidate, Waiting

_ASIDE_S: Final = 0.005
_REASON_CHARS: Final = 300


def open_watch(rest: str, wanted: Wanted) -> WatchedFolder:
    """A watched folder from what follows ``watch:``; nothing is looked at yet.

    Raises:
        SourceError: an option is not known, or something was asked for that a folder does not have.
    """
    if wanted.region is not None or wanted.binning is not None:
        raise SourceError(
            "watch: a folder has neither a region of interest nor binning",
            hint="Set them in the program that writes the files.",
        )
    return WatchedFolder(parse_options(rest, wanted.settings), wanted)


class WatchedFolder:
    """A folder that another program fills; see `uploader.sources.live.LiveSource`, and the package's invariants.

    Args:
        options: how it is watched.
        wanted: ``fps`` is believed, and ``scaling`` is used.
        clock: the steady clock, seconds.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        options: WatchOptions,
        wanted: Wanted,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._wanted = wanted
        self._clock = clock
        self._sleep = sleep
        self._pattern = re.compile(fnmatch.translate(options.pattern.casefold()))
        self._place = Place(options.folder)
        self._reader = Reader(
            folder=options.folder,
            scaling=wanted.scaling,
            fps=wanted.fps,
            time=options.time,
            untimed=self._tell_untimed,
        )
        self._taken = Taken()
        self._telling = Telling()
        self._aside: dict[str, Look | None] = {}
        self._shape: tuple[int, int] | None = None
        self._last: tuple[tuple[str | int, ...], str] = ((), "")
        self._refused = 0
        self._begin()

    # What it is.

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._options.folder.name or str(self._options.folder)

    @property
    def shape(self) -> tuple[int, int] | None:
        """``(height, width)`` of the first frame that was given, which all must have."""
        return self._shape

    @property
    def frame_rate(self) -> float | None:
        """As asked for: files do not say how fast they come."""
        return self._wanted.fps

    @property
    def is_over(self) -> bool:
        """Whether the file that ends it is there, and everything is taken."""
        ended = self._until_listing is not None and self._listing.complete > self._until_listing
        return ended and self._work is None and not self._waiting and not self._checking.suspects

    def describe(self) -> str:
        """Say which folder, and which files of it."""
        which = "" if self._options.pattern == "*" else f", {self._options.pattern}"
        until = "" if self._options.until is None else f", until {self._options.until} is there"
        return f"watched folder {self._options.folder}{which}{until}"

    def facts(self) -> Mapping[str, Any]:
        """The folder and how it is watched."""
        options = self._options
        return {
            "folder": printable(str(options.folder)),
            "pattern": options.pattern,
            "settle_s": options.settle_s,
            "growing_s": options.growing_s,
            "patience_s": options.patience_s,
            "until": options.until,
            "time": options.time,
            "scaling": None if self._wanted.scaling is None else str(self._wanted.scaling),
        }

    # What it does.

    def remember(self, taken: Iterable[TakenFile]) -> None:
        """What is in the spool already, in order.

        Raises:
            SourceError: the spool tells of a file what cannot be.
        """
        for file in taken:
            try:
                self._taken.add(file)
            except (ValueError, struct.error) as error:
                raise SourceError(
                    f"what the spool tells of {printable(file.name)!r} cannot be: {error}",
                    hint="Nothing was taken. Look for damage with 'framespool verify'.",
                ) from error
            if file.index == 0:
                self._is_late(file.name)

    def start(self) -> None:
        """Find the folder, and list it anew.

        Raises:
            SourceLost: it is not there now.
            SourceError: it is no folder.
        """
        try:
            self._place.found()
        except NotADirectoryError as error:
            raise SourceError(f"{self._options.folder}: is no folder", hint="Check the path.") from error
        self._begin(is_stopped=False)

    def stop(self) -> None:
        """Let go of the file that is being read; what was given of it stays taken."""
        if self._work is not None:
            self._work.close()
        self._begin()

    def grab(self, timeout_s: float) -> Grabbed | None:
        """The next frame; see `LiveSource.grab`."""
        deadline = self._clock() + timeout_s
        while not self.is_over:
            frame = self._step()
            if frame is not None:
                return frame
            now = self._clock()
            if now >= deadline:
                return None
            if self._work is None and self._wake_at > now:
                self._sleep(min(self._wake_at, deadline) - now)
        return None

    def notices(self) -> Sequence[Notice]:
        """What has happened to its files."""
        return self._telling.take(self._clock(), everything=self._is_stopped or self.is_over)

    # Steps.

    def _begin(self, *, is_stopped: bool = True) -> None:
        """Know nothing of the folder but what was taken from it, and what is set aside."""
        options = self._options
        self._is_stopped = is_stopped
        self._waiting = Waiting(
            self._place.look,
            patience_s=options.patience_s,
            settled=lambda name: options.growing_s if may_grow(name) else options.settle_s,
        )
        self._listing = Listing(self._place, self._clock)
        self._checking = Checking(
            self._taken, self._place, self._reader, self._telling, settle_s=options.growing_s, clock=self._clock
        )
        self._work: Generator[Grabbed | None, None, None] | None = None
        self._wake_at = 0.0
        self._until_listing: int | None = None

    def _step(self) -> Grabbed | None:
        """Do something that does not take long; the frame that came of it."""
        if self._work is None:
            self._work = self._next_work()
        if self._work is None:
            return None
        self._wake_at = 0.0
        try:
            return next(self._work)
        except StopIteration:
            self._work = None
            return None
        except BaseException:
            self._work = None
            raise

    def _next_work(self) -> Generator[Grabbed | None, None, None] | None:
        now = self._clock()
        if now >= self._listing.due_at:
            return self._list()
        one = self._waiting.next(now, self._listing.complete)
        self._tell_of_waiting(now)
        if one is not None:
            return self._take(one)
        check = self._checking.next(now)
        if check is not None:
            return check
        self._wake_at = min(self._listing.due_at, self._waiting.wake_at, self._checking.wake_at)
        return None

    def _list(self) -> Generator[None, None, None]:
        for name in self._listing.names(self._taken.known):
            self._listed(name)
        yield
        for file in self._taken.unfinished():
            if (
                is_plain(file.name)
                and not self._is_waited_for(file.name)
                and self._place.look(file.name) is not None
            ):
                self._waiting.add(file.name, self._clock(), self._listing.number, is_interrupted=True)
        if self._listing.complete == 1:
            self._tell_of_missing()
        self._look_aside()
        self._checking.sweep()

    def _listed(self, name: str) -> None:
        """One that was not taken yet is in the folder."""
        if self._is_waited_for(name):
            return
        if name == self._options.until and self._until_listing is None:
            self._until_listing = self._listing.number
        if not is_temporary(name) and self._pattern.match(name.casefold()):
            self._waiting.add(name, self._clock(), self._listing.number)

    def _is_waited_for(self, name: str) -> bool:
        return name in self._waiting or name in self._aside

    def _take(self, one: Candidate) -> Generator[Grabbed | None, None, None]:
        """The frames of a file that looks finished."""
        name, look = one.name, one.look
        assert look is not None
        if look.kind == "folder":
            self._waiting.done(one)
            self._aside[name] = look  # without a word: folders are not watched
            return
        refusal = _refusal(name, look)
        if refusal is not None:
            self._set_aside(one, refusal)
            return
        interrupted = self._taken.file(name) if name in self._taken else None
        try:
            for frame in self._reader.frames(name, look, self._shape, interrupted):
                if frame is not None:
                    self._given(frame)
                yield frame
        except ScalingNeeded:
            # Nothing was recorded yet: a person chooses now, instead of finding every file refused.
            if self._shape is None:
                raise
            self._set_aside(one, "its pixels are not uint8, as those before it were")
        except (SourceError, OSError) as error:
            self._broken(one, look, error)
        else:
            self._waiting.done(one)

    def _given(self, frame: Grabbed) -> None:
        file = frame.file
        assert file is not None
        self._shape = (frame.frame.shape[0], frame.frame.shape[1])
        self._taken.add(file)
        if file.index:
            return
        if self._is_late(file.name):
            name, after = printable(file.name), printable(self._last[1])
            words = f"{name} was finished, or came, only after {after} had been taken: its frames follow those"
            self._telling.tell(self._clock(), "file_late", name, words, after=after)

    def _is_late(self, name: str) -> bool:
        """Whether one was taken before that should have come after it; else it is the last one now."""
        key = natural_key(name)
        if key < self._last:
            return True
        self._last = key
        return False

    def _broken(self, one: Candidate, look: Look, error: SourceError | OSError) -> None:
        """It could not be read: its writer may not be done, it may never be readable, or the share is gone."""
        self._place.modified_ns()
        now = self._clock()
        if isinstance(error, OtherFile):
            self._changed_in_the_middle(one, look, error)
        elif isinstance(error, OtherShape):
            self._set_aside(one, str(error))
        elif isinstance(error, ChangedWhileRead | FileNotFoundError):
            self._waiting.changed(one, self._place.look(one.name), now)
        elif self._waiting.failed(one, now):
            told = error.strerror if isinstance(error, OSError) else None
            self._set_aside(one, told or str(error))

    def _set_aside(self, one: Candidate, reason: str) -> None:
        self._waiting.done(one)
        self._aside[one.name] = one.look
        self._refused += 1
        name, why = printable(one.name), printable(reason)[:_REASON_CHARS]
        words = f"{name} is not taken: {why}. It is looked at again when it changes; the others go on"
        self._telling.tell(self._clock(), "file_refused", name, words, reason=why, refused=self._refused)

    def _changed_in_the_middle(self, one: Candidate, look: Look, error: OtherFile) -> None:
        self._waiting.done(one)
        self._taken.give_up(one.name)
        taken = self._taken.file(one.name)
        self._checking.tell_changed(taken, look, error.found)

    def _look_aside(self) -> None:
        """What was refused may have been finished, or mended, or deleted since."""
        until, now = self._clock() + _ASIDE_S, self._clock()
        for name, known in list(self._aside.items()):
            look = self._place.look(name)
            del self._aside[name]
            if look is None:
                continue
            if look == known:
                self._aside[name] = known  # at the end: those that were not reached are first the next time
            else:
                self._waiting.add(name, now, self._listing.number, is_interrupted=name in self._taken)
            if self._clock() >= until:
                return

    # What is told.

    def _tell_of_waiting(self, now: float) -> None:
        for one in self._waiting.overtaken:
            name = printable(one.name)
            words = (
                f"{name} has been written for more than {self._options.patience_s:g} s, or cannot be read yet:"
                " the files after it go ahead, and it follows when it is finished"
            )
            self._telling.tell(now, "file_overtaken", name, words)
        for one in self._waiting.gone:
            name = printable(one.name)
            words = f"{name} was deleted or renamed before it was finished: nothing was taken from it"
            if one.is_interrupted:
                words = f"{name} was deleted or renamed after only some of its frames were taken"
            self._telling.tell(now, "file_gone", name, words)
        self._waiting.overtaken.clear()
        self._waiting.gone.clear()

    def _tell_of_missing(self) -> None:
        for file in self._taken.unfinished():
            if not self._is_waited_for(file.name):
                missing = file.frames - file.index - 1
                name = printable(file.name)
                words = f"{name} is gone, and {missing} of its {file.frames} frames were not taken"
                self._telling.tell(self._clock(), "file_gone", name, words, frames_missing=missing)

    def _tell_untimed(self, file: str) -> None:
        name = printable(file)
        words = f"{name} has no time noted in it: its frames have the time at which it was written"
        self._telling.tell(self._clock(), "file_untimed", name, words)


def _refusal(name: str, look: Look) -> str | None:
    """Why a file is not even opened; ``None`` if it is."""
    if look.kind != "file":
        return "it is a link, a pipe or a device, and no file"
    if look.size > bytes_max(name):
        return f"it has {look.size} bytes, more than the {bytes_max(name)} that such a file may have"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not text that can be noted: rename it"
    return None
