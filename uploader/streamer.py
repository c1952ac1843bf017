"""`RHEEDStreamer`: records frames into the spool; never waits for the network once recording has begun.

It keeps the names, arguments and defaults of the vendor's client, so that a lab changes one import line.
"""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from functools import partial
from html import escape
from types import TracebackType
from typing import Any, Self, SupportsIndex, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spool import (
    Capture,
    Spool,
    SpoolFull,
    SpoolView,
    Stream,
    StreamSettings,
    StreamState,
    UnknownStream,
    spool_in_words,
)
from uploader import config
from uploader.api import AtomscaleApi
from uploader.beginning import Begun, Marking, begin
from uploader.clock import ClockMeasurement
from uploader.delivery import OnClosed
from uploader.destinations.making import keys_for
from uploader.errors import ConfigurationError
from uploader.events import OnEvent
from uploader.news import NewsWatch
from uploader.opening import end_again
from uploader.own_worker import OwnWorker, WorkerKind
from uploader.reports import ClockReport, FinalizeReport, SpoolReport
from uploader.room import RoomWatch
from uploader.settings import stream_settings
from uploader.verbosity import set_verbosity
from uploader.worker_process import Orders

FINALIZE_WAIT_S = 600.0
"""How long ``finalize()`` waits by default; the worker carries on after that."""
_LOOK_S, _LOOK_S_MAX = 0.02, 1.0
_FULL_PAUSE_S = 0.5

_log = logging.getLogger(__name__)


class RHEEDStreamer:
    """Streams RHEED video: every chunk is durable here before ``push`` returns, and delivered from here.

    Args:
        api_key: falls back to ``AS_API_KEY``, then ``ATOMSCALE_API_KEY``, the key file, the system keyring;
            kept in memory only.
        endpoint: the server's base URL; falls back to ``AS_API_ENDPOINT``, then the configuration file.
        verbosity: 0 (silent) to 4 (everything) to the terminal; ``None`` leaves logging to the caller.
        spool_dir: the spool folder, or the name of a ``[[spool]]`` of the configuration file; falls back to
            ``ATOMSCALE_SPOOL_DIR``, the configuration file, then the user's data directory.
        spool_max_bytes: the most that shards may occupy; ``None`` for what is configured, else no limit.
        spool_min_free_bytes: what stays free on the disk; ``None`` for what is configured, else 1 GiB.
        spool_retention_s: how long acknowledged chunks are kept here; ``None`` for what is configured, else
            seven days, ``float("inf")`` for as long as there is room.
        open_timeout_s: how long ``initialize`` waits for the server, seconds; 0 for not at all; ``None`` for
            what is configured, else five.
        on_closed: what becomes of waiting chunks when the server has ended the stream for its silence: they go
            into a further stream there (``"continue"``), or wait for a person (``"hold"``); ``None`` for what is
            configured, else the former.
        worker: who delivers: a ``"process"`` of its own that outlives this one, a ``"thread"`` of this one
            (notebooks), or ``"external"``: a ``framespool worker`` that somebody runs.
        max_rate: the most that the worker started here may send, such as ``"2MB/s"`` or
            ``"2MB/s,18:00-07:00=unlimited"``; ``None`` for what is configured, else as fast as it goes.
        destination: where it is delivered, in place of a server: a folder, as its path or ``file:///FOLDER``, or a
            bucket, ``s3://BUCKET/PREFIX``, in which each stream lands as a Zarr group. No key is needed.
        also: further destinations, named likewise. Each gets everything, at its own pace, and holds up no other;
            one of them all may be a server. ``None`` for those that are configured, if no destination is given.
        layout: where in that folder or bucket a new stream lies, such as ``"garching/mbe-3/{date}/{stream}"``;
            ``None`` for what is configured, else directly in it.
        on_event: is told what happens in the spool, such as that the room runs out or an outage begins; see
            `uploader.events`. It is called from the thread that records, which waits for it; what it raises is
            logged and goes no further.

    Raises:
        ConfigurationError: an argument is not usable; nothing was begun.
        SpoolError: the spool folder cannot be opened.
    """

    def __init__(
        self,
        api_key: str | None = None,
        endpoint: str | None = None,
        verbosity: int | None = None,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_max_bytes: int | None = None,
        spool_min_free_bytes: int | None = None,
        spool_retention_s: float | None = None,
        *,
        worker: WorkerKind = "process",
        open_timeout_s: float | None = None,
        on_closed: str | None = None,
        max_rate: str | None = None,
        on_event: OnEvent | None = None,
        destination: str | os.PathLike[str] | None = None,
        also: Sequence[str | os.PathLike[str]] | None = None,
        layout: str | None = None,
    ) -> None:
        if verbosity is not None:
            set_verbosity(verbosity)
        if worker not in get_args(WorkerKind):
            raise ConfigurationError(f"worker is {worker!r}, not one of {', '.join(get_args(WorkerKind))}")
        if max_rate is not None and worker == "external":
            raise ConfigurationError(
                "max_rate is for a worker that is started here, and this one is not",
                hint="Nothing was begun. Leave it out, and give it to that one: framespool worker --max-rate.",
            )
        found = config.spool(
            {
                "endpoint": config.destination(endpoint, destination),
                "spool_dir": spool_dir,
                "max_bytes": spool_max_bytes,
                "min_free_bytes": spool_min_free_bytes,
                "retention_s": spool_retention_s,
                "layout": layout,
            }
        )
        self._endpoint, self._limits = found.endpoint, found.limits
        # All that may be of no use is told before anything is begun.
        self._open_timeout_s = float(str(config.setting("open_timeout_s", open_timeout_s).value))
        further = config.further(self._endpoint, found.also if also is None else also)
        self._destinations = {url: keys_for(url, api_key) for url in (self._endpoint, *further)}
        self._keys = self._destinations[self._endpoint]
        orders = partial(
            Orders,
            limits=self._limits,
            on_closed=OnClosed(str(config.setting("on_closed", on_closed).value)),
            max_rate=str(config.setting("max_rate", max_rate).value),
            layout=found.layout,
        )
        self._kind = worker
        takes_risk = config.takes_unsafe_file_system()
        self._spool = Spool(found.root, limits=self._limits, unsafe_file_system=takes_risk)
        self._room = RoomWatch(self._spool, on_event)
        self._news = NewsWatch(self._spool, on_event)
        self._workers = [
            OwnWorker(self._spool, orders(endpoint=url, keys=keys), worker)
            for url, keys in self._destinations.items()
        ]
        self._clock: ClockMeasurement | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = spool_in_words(self._spool)
        return f"<RHEEDStreamer spool={str(self._spool.root)!r} endpoint={self._endpoint!r}: {state}>"

    def _repr_html_(self) -> str:
        """For notebooks: the streams of its spool, as they are now."""
        return f"<p>RHEEDStreamer to {escape(self._endpoint)}</p>{SpoolView(self._spool)._repr_html_()}"

    def initialize(
        self,
        fps: float,
        rotations_per_min: float,
        chunk_size: SupportsIndex,
        stream_name: str | None = None,
        physical_sample: str | None = None,
        project_id: str | None = None,
        tags: Sequence[str] | None = None,
        azimuth: str | None = None,
    ) -> str:
        """Open a stream in the spool, and on the server if that can be reached.

        Args:
            fps: capture rate, frames per second.
            rotations_per_min: of the sample; 0 when stationary.
            chunk_size: the most frames in a chunk; at least two seconds of them.
            stream_name: for people.
            physical_sample: name (created when new) or UUID (must exist).
            project_id: UUID; links the sample to the project.
            tags: names (created when new) or UUIDs (must exist).
            azimuth: label, for a stationary sample only.

        Returns:
            The server's data_id; or, when the server cannot be reached within ``open_timeout_s``, our stream_id:
            then recording begins here, and the worker opens the stream on the server later. ``push``, ``run``
            and ``finalize`` take either, always.

        Durability: on return the stream is on stable storage here.

        Raises:
            ConfigurationError: an argument is not usable; nothing was begun.
            KeyRefused, RequestRefused: the server answered, and said no; nothing is open.
            SpoolError: the spool refused; the server's stream is ended again.
        """
        settings = stream_settings(
            endpoint=self._endpoint,
            fps=fps,
            rotations_per_min=rotations_per_min,
            chunk_size=chunk_size,
            stream_name=stream_name,
            physical_sample=physical_sample,
            project_id=project_id,
            tags=tags,
            azimuth=azimuth,
        )
        marking = Marking(self._further, self._open_timeout_s)
        begun = self._begin(settings)
        self._clock = begun.clock or self._clock
        stream = self._open_here(settings, begun)
        self._warn(self._endpoint, stream.stream_id, begun.why)
        for url, copy_id in zip(self._further, stream.settings.copies, strict=True):
            self._warn(url, copy_id, marking.why_not(url))
        self._ensure_worker()
        return begun.data_id or stream.stream_id

    def data_id(self, stream_id: str) -> str | None:
        """The server's id of a stream; ``None`` while the server has not given one.

        Args:
            stream_id: what ``initialize`` returned, or any other id of the stream.

        Raises:
            UnknownStream: there is no such stream in the spool.
        """
        return self._spool.stream(stream_id).data_id

    def resume(self, data_id: str) -> int:
        """Go on with a stream whose producer is gone: after a crash, or one that was left open.

        Does not touch the network. What the other producer had not pushed is not invented: the capture times show
        the pause.

        Args:
            data_id: what ``initialize`` returned, or the stream_id.

        Returns:
            The chunk_idx to push next; ``run`` goes on there by itself.

        Raises:
            StreamInUse: another live producer has the stream; nothing was changed.
            StreamSealed, UnknownStream: it takes no more chunks, or is not in this spool.
            ConfigurationError: it is delivered to another endpoint than this streamer's.
            SpoolError: the disk refused.
        """
        wanted = [one.settings.destination for one in self._all(data_id)]
        if sorted(wanted) != sorted(self._destinations):
            raise ConfigurationError(
                f"stream {data_id} is delivered to {', '.join(wanted)},"
                f" and this streamer to {', '.join(self._destinations)}",
                hint="Give RHEEDStreamer the endpoint, or the destinations, that the stream was opened with.",
            )
        stream = self._spool.resume(data_id)
        self._ensure_worker()
        return stream.next_chunk_idx

    def push(
        self,
        data_id: str,
        chunk_idx: SupportsIndex,
        frames: ArrayLike,
        capture_start_ms_utc: float | None = None,
        *,
        capture: Capture | None = None,
    ) -> None:
        """Record one chunk. Does not touch the network.

        Args:
            data_id: what ``initialize`` returned.
            chunk_idx: counts the stream's chunks from 0.
            frames: uint8 ``(n, height, width)`` with n up to chunk_size, or one ``(height, width)``; only read.
            capture_start_ms_utc: when the first frame was captured, milliseconds UTC by this host's clock;
                without it the chunk is taken to have just finished.
            capture: what a source says of the frames, such as the camera's numbers; kept with the chunk.

        Durability: on return the chunk is on stable storage. After a raise the frames are still the caller's.

        Raises:
            SpoolError: see `spool.Spool.push`; `SpoolFull` when there is no room.
        """
        try:
            chunk = self._spool.push(data_id, chunk_idx, frames, capture_start_ms_utc, capture=capture)
        except SpoolFull as error:
            self._room.refused(error, data_id)
            raise
        self._ensure_worker()
        self._room.pushed(chunk)
        self._news.look()

    def run(self, data_id: str, frames_iter: Iterable[Any]) -> None:
        """Record everything an iterator yields, one chunk an item, after what the stream already holds.

        Args:
            data_id: what ``initialize`` returned.
            frames_iter: yields frames as ``push`` takes them, ``(frames, capture_start_ms_utc)``, or that with a
                ``Capture`` as the third.

        Unlike ``push`` it waits while the spool is full, until delivered chunks have made room.

        Raises:
            SpoolError: see `push`; what was recorded before stays.
        """
        chunk_idx = self._spool.stream(data_id).next_chunk_idx
        for item in frames_iter:
            frames, capture_start, capture = (*(item if isinstance(item, tuple) else (item,)), None, None)[:3]
            if capture_start is None:
                # Waiting for room must not move the time stamp: it is taken when the frames arrive.
                frames = np.asarray(frames)
                capture_start = self._arrival_ms(data_id, frames)
            self._push_when_there_is_room(data_id, chunk_idx, frames, capture_start, capture)
            chunk_idx += 1

    def finalize(self, data_id: str, drain_timeout_s: float | None = None) -> FinalizeReport:
        """Ask for the end of the stream, and wait until it is there.

        Args:
            data_id: what ``initialize`` returned.
            drain_timeout_s: how long to wait, seconds; ``None`` for ten minutes, 0 for not at all.

        Returns:
            How far the stream is. When the wait ends first nothing is lost: the request is durable, and the
            worker delivers the rest and then ends the stream, whether this process lives or not.

        Durability: on return the request to end the stream survives anything.
        """
        wait_s = FINALIZE_WAIT_S if drain_timeout_s is None else drain_timeout_s
        began = time.monotonic()
        deadline = began + wait_s
        stream = self._spool.seal(data_id)
        while True:
            self._ensure_worker()
            stream, *copies = self._all(data_id)
            if all(map(self._needs_nobody, (stream, *copies))) or not time.monotonic() < deadline:
                break
            self._news.look()
            # A wait that has lasted may last: there is no need to look as often.
            now = time.monotonic()
            time.sleep(min(_LOOK_S_MAX, _LOOK_S + (now - began) / 20, max(0.0, deadline - now)))
        self._room.look(stream.stream_id)
        self._news.look(now=True)
        report = FinalizeReport.of(stream, copies)
        if not report.finalized:
            _log.warning(
                "stream %s is not finalized yet: %d of %d chunks delivered, %d waiting, %d parked. %s",
                data_id,
                report.chunks_uploaded,
                report.chunks_spooled,
                report.chunks_pending,
                report.chunks_parked,
                self._who_carries_on(max((stream, *copies), key=_needs_a_person)),
            )
        return report

    def spool_status(self) -> SpoolReport:
        """The spool at this moment, over all its streams."""
        status = self._spool.status()
        tallies = [stream.tally for stream in status.streams]
        return SpoolReport(
            spool_dir=str(status.root),
            streams=len(tallies),
            chunks_pending=sum(tally.spooled for tally in tallies),
            chunks_parked=sum(tally.parked for tally in tallies),
            chunks_uploaded=sum(tally.acknowledged for tally in tallies),
            pending_bytes=sum(tally.waiting_bytes for tally in tallies),
            used_bytes=status.used_bytes,
            free_bytes=status.free_bytes,
            worker_running=self._spool.worker_lock(self._endpoint).is_held_elsewhere(),
            trouble=next((s.held or s.trouble for s in reversed(status.streams) if s.held or s.trouble), None),
        )

    def clock_status(self) -> ClockReport:
        """The latest measurement of the host clock against the reference clock."""
        clock = self._clock
        if clock is None:
            return ClockReport(measured=False, offset_ms=None, uncertainty_ms=None, measured_at_ms=None)
        return ClockReport(
            measured=True,
            offset_ms=clock.offset_ms,
            uncertainty_ms=clock.uncertainty_ms,
            measured_at_ms=clock.measured_at_ms,
        )

    def close(self) -> None:
        """Let go of the spool. Nothing is lost: what waits is delivered by the worker, or the next one."""
        for worker in self._workers:
            worker.close()
        self._spool.close()

    # Private --------------------------------------------------------------------------------------------

    @property
    def _further(self) -> list[str]:
        return [url for url in self._destinations if url != self._endpoint]

    def _all(self, ref: str) -> list[Stream]:
        """The stream, and its copies."""
        return [self._spool.stream(ref), *self._spool.copies(ref)]

    def _warn(self, url: str, stream_id: str, why: str | None) -> None:
        if why is not None:
            _log.warning(
                "%s could not be asked for the stream (%s). Recording begins here, as %s; the worker opens it"
                " there as soon as it can be reached.",
                url,
                why,
                stream_id,
            )

    def _begin(self, settings: StreamSettings) -> Begun:
        return begin(
            self._endpoint,
            self._keys,
            settings,
            timeout_s=self._open_timeout_s,
            knows=self._knows,
            reads_clock=not config.skips_clock(),
        )

    def _open_here(self, settings: StreamSettings, begun: Begun) -> Stream:
        try:
            stream = self._spool.open_stream(
                settings,
                also=self._further,
                data_id=begun.data_id,
                links=begun.links,
                unlinked=begun.unlinked,
                asked=begun.asked,
                is_name_free=begun.is_name_free,
            )
            if begun.clock is not None:
                self._spool.note_clock(stream.stream_id, begun.clock.reading())
        except BaseException:
            if begun.data_id is not None and self._keys is not None:
                with AtomscaleApi(self._endpoint, self._keys) as api:
                    end_again(api, begun.data_id)
            raise
        return stream

    def _knows(self, data_id: str) -> bool:
        try:
            self._spool.stream(data_id)
        except UnknownStream:
            return False
        return True

    def _push_when_there_is_room(
        self, data_id: str, chunk_idx: int, frames: ArrayLike, capture_start: float, capture: Capture | None
    ) -> None:
        waiting = False
        while True:
            try:
                self.push(data_id, chunk_idx, frames, capture_start, capture=capture)
            except SpoolFull as error:
                if self._limits.max_bytes is not None and error.chunk_bytes > self._limits.max_bytes:
                    raise  # no pruning will ever make so much room
                if not waiting:
                    _log.warning("%s. Waiting for room; the frames are kept.", error)
                waiting = True
                self._ensure_worker()
                time.sleep(_FULL_PAUSE_S)
            else:
                return

    def _arrival_ms(self, data_id: str, frames: NDArray[Any]) -> float:
        n = frames.shape[0] if frames.ndim == 3 else 1  # noqa: PLR2004 - (n, height, width)
        return time.time() * 1000 - n * 1000 / self._spool.stream(data_id).settings.fps

    def _ensure_worker(self) -> None:
        for worker in self._workers:
            worker.ensure()

    def _needs_nobody(self, stream: Stream) -> bool:
        """Whether waiting longer cannot change anything: it is over, or a person has to act first."""
        if stream.state is StreamState.FINALIZED or stream.held is not None:
            return True
        return stream.tally.parked > 0 and stream.tally.spooled == 0

    def _who_carries_on(self, stream: Stream) -> str:
        if stream.held is not None:
            return f"Nothing more is sent, because {stream.held}: run 'framespool status'."
        if stream.tally.parked:
            return "Parked chunks wait for a person: 'framespool retry' or 'framespool discard'."
        if self._kind == "thread":
            return "Nothing is lost, but the worker ends with this process: 'framespool worker' carries on."
        return "Nothing is lost: the worker carries on."


def _needs_a_person(stream: Stream) -> bool:
    return stream.held is not None or stream.tally.parked > 0
