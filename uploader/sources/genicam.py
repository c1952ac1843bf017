"""Any GenICam camera, through harvesters and the GenTL producer of its maker: a ``.cti`` file.

Producers are found where their installers say in ``GENICAM_GENTL64_PATH``, or named. Their buffers are read as
they are: harvesters' own pictures keep the padding of lines, and its queue drops frames.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Final

from uploader.sources.base import SourceError, same_shape
from uploader.sources.camera import Begun, Camera
from uploader.sources.camera_settings import set_up, tick_frequency_hz
from uploader.sources.drivers import Found, queue_length, reason_of, speaking_to, version_of
from uploader.sources.frame_numbers import FrameNumbers, nanoseconds
from uploader.sources.live import Grabbed, LiveSource, Notice, SourceLost, Wanted
from uploader.sources.node_map import NodeMap
from uploader.sources.pixel_formats import PixelFormat

with warnings.catch_warnings():  # when imported, it changes the filters of the whole process
    warnings.simplefilter("ignore")
    from genicam.gentl import PAYLOADTYPE_INFO_IDS, GenericException
    from harvesters.core import Callback, Harvester, ImageAcquirer, ParameterKey, ParameterSet

PATHS: Final = "GENICAM_GENTL64_PATH"
_SUFFIX: Final = ".cti"
_PROBE_S: Final = 2.0  # without a frame for so long, the camera is asked whether it is there
_COUNTS_IN_64_BITS: Final = "U3V"
_PICTURES: Final = (PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_IMAGE, PAYLOADTYPE_INFO_IDS.PAYLOAD_TYPE_CHUNK_DATA)


class _Complaints(logging.Handler):
    """What harvesters only writes to its log: why a producer could not be opened."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: deque[str] = deque(maxlen=5)  # each incomplete frame is one more

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        self.said.append(reason_of(record.msg) if isinstance(record.msg, Exception) else record.getMessage())


_complaints = _Complaints()
# Not ours: with a traceback on the terminal it would say again what is raised anyway.
_log = logging.getLogger("harvesters.framespool")
_log.addHandler(_complaints)
_log.propagate = False


def open_genicam(rest: str, wanted: Wanted) -> LiveSource:
    """A camera by ``PRODUCER.cti``, ``PRODUCER.cti:SERIAL`` or ``SERIAL``; the first of all for an empty text.

    Raises:
        SourceError: there is no such producer.
    """
    producer, wish = _parted(rest.strip())
    return GenICamCamera(_producers() if producer is None else [_existing(producer)], wish, wanted)


def look() -> list[Found]:
    """Every camera of every producer in ``GENICAM_GENTL64_PATH``.

    Raises:
        SourceError: there is none, or it cannot look.
    """
    with speaking_to("the GenTL producers"), _harvesting(_producers()) as harvester:
        return [_found(one) for one in harvester.device_info_list]


class GenICamCamera(Camera):
    """See `uploader.sources.live.LiveSource`.

    Args:
        producers: the ``.cti`` files to look through.
        wish: serial number, user-defined name or identifier; the first camera when empty.
        wanted: how it is to be set up.
    """

    def __init__(self, producers: Sequence[Path], wish: str, wanted: Wanted) -> None:
        super().__init__("GenICam camera", wish)
        self._producers, self._wanted = producers, wanted
        self._acquirer: Any = None
        self._format: PixelFormat
        self._numbers: FrameNumbers
        self._frequency_hz = 1
        self._heard_s = 0.0

    def begin(self) -> Begun:
        """See `Camera`."""
        harvester = _harvester(self._producers)
        self.undo(harvester.reset)
        harvester.update()
        info = _chosen(harvester.device_info_list, self.wish)
        name = f"{_told(info, 'model')} {_told(info, 'serial_number')}".strip()
        with _interrupts_kept():
            self._acquirer = acquirer = harvester.create(info, config=_without_chunk_data())
        self.undo(acquirer.destroy)
        nodes = NodeMap.of_genicam(acquirer.remote_device.node_map)
        set_to = set_up(nodes, self._wanted, name)
        self._format = set_to.format
        stream = acquirer.data_streams[0].module
        frame_bytes = stream.payload_size if stream.defines_payload_size() else int(nodes.read("PayloadSize") or 0)
        acquirer.num_buffers = max(acquirer.min_num_buffers, queue_length(set_to.frame_rate, frame_bytes))
        transport = str(_told(info, "tl_type"))
        self._frequency_hz = int(_told(acquirer.device.module, "timestamp_frequency") or tick_frequency_hz(nodes))
        self._numbers = FrameNumbers(may_turn=transport != _COUNTS_IN_64_BITS)
        acquirer.add_callback(ImageAcquirer.Events.INCOMPLETE_BUFFER, _OnIncomplete(self._tell_incomplete))
        acquirer.start()
        self.undo(acquirer.stop)
        self.undo(lambda: self._tell_losses(name))
        self._heard_s = time.monotonic()
        facts = {
            "vendor": _told(info, "vendor"),
            **set_to.facts,
            "source": "genicam",
            "model": _told(info, "model"),
            "serial": _told(info, "serial_number"),
            "transport": transport,
            "producer": [str(one) for one in harvester.files],
            "driver": f"harvesters {version_of('harvesters')}, genicam {version_of('genicam')}",
            "driver_queue_frames": acquirer.num_buffers,
            "tick_frequency_hz": self._frequency_hz,
        }
        return Begun(name=name, shape=set_to.shape, frame_rate=set_to.frame_rate, facts=facts)

    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """See `Camera`."""
        # One wait in the producer for the whole time, where harvesters would look a thousand times a second.
        self._acquirer.timeout_period_on_update_event_data_call = max(1, round(timeout_s * 1000))
        buffer = self._acquirer.try_fetch(timeout=max(timeout_s, 0.001), is_raw=True)
        if buffer is None:
            self._must_be_there()
            return None
        self._heard_s = time.monotonic()
        self._incomplete.tell(self.name)
        try:
            return self._taken(buffer)
        finally:
            buffer.parent.queue_buffer(buffer)

    def _taken(self, buffer: Any) -> Grabbed:  # noqa: ANN401 - genicam has no types
        if buffer.payload_type not in _PICTURES:
            raise SourceError(
                f"{self.name} does not send plain pictures (payload type {buffer.payload_type})",
                hint="Switch off what it sends besides the picture: several components, 3D data, compression.",
            )
        count = _told(buffer, "frame_id")
        number = self._numbers.follow(count)
        self.tell_if_uncounted(self._numbers)
        where = f"{self.name}, frame {count}"
        height, width = (
            _told(buffer, side) or known for side, known in zip(("height", "width"), self.shape, strict=True)
        )
        pixels = self._format.pixels(
            buffer.raw_buffer,
            (height, width),
            padding=_told(buffer, "padding_x") or 0,
            offset=_told(buffer, "image_offset") or 0,
        )
        at_ns, ticks = _told(buffer, "timestamp_ns"), _told(buffer, "timestamp")
        return Grabbed(
            frame=same_shape(self._format.frame(pixels, self._wanted.scaling, where), self.shape, where),
            number=number,
            device_ns=at_ns or nanoseconds(ticks or 0, self._frequency_hz),
        )

    def _must_be_there(self) -> None:
        """Ask the camera for something when nothing came for a while: a producer may never say that it is gone."""
        now_s = time.monotonic()
        if now_s - self._heard_s < _PROBE_S:
            return
        self._heard_s = now_s
        self._incomplete.tell(self.name)
        width = self._acquirer.remote_device.node_map.Width
        try:
            _forget(width.node)
            _ = width.value
        except Exception as error:
            raise SourceLost(
                f"{self.name} does not answer any more: {error}",
                hint="Check its cable and power: the recording goes on when it is back.",
            ) from error

    def _tell_incomplete(self) -> None:
        # Its number is left out, which is how it is counted.
        self._numbers.skip()
        self._incomplete.add(None, "the driver did not fill it")

    def _tell_losses(self, name: str) -> None:
        underruns = _told(self._acquirer.data_streams[0].module, "num_underrun")
        if underruns:
            words = (
                f"The driver of {name} found no empty buffer for {underruns} frames: this machine was too slow."
            )
            self._notices.add(Notice(what="driver_losses", words=words, detail={"num_underrun": underruns}))


class _OnIncomplete(Callback):  # type: ignore[misc] # harvesters has no types
    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self._then = then

    def emit(self, context: object = None) -> None:  # noqa: ARG002 - harvesters' signature
        """See harvesters."""
        self._then()


def _parted(rest: str) -> tuple[Path | None, str]:
    """The producer and the camera; a Windows path has a colon of its own."""
    end = rest.lower().rfind(_SUFFIX)
    if end < 0:
        return None, rest
    end += len(_SUFFIX)
    return Path(rest[:end]), rest[end:].removeprefix(":")


def _existing(producer: Path) -> Path:
    if not producer.is_file():
        raise SourceError(f"{producer}: no such GenTL producer", hint="Check the path of the .cti file.")
    return producer


def _producers() -> list[Path]:
    """Those that their installers have announced.

    Raises:
        SourceError: none.
    """
    folders = [Path(one) for one in os.environ.get(PATHS, "").split(os.pathsep) if one]
    found = sorted({file for folder in folders for file in folder.glob(f"*{_SUFFIX}")})
    if not found:
        raise SourceError(
            f"no GenTL producer is known: {PATHS} names no folder with a {_SUFFIX} file",
            hint="Install the software of the camera's maker, or name the file: genicam:/path/to/producer.cti",
        )
    return found


def _harvester(producers: Sequence[Path]) -> Any:  # noqa: ANN401 - harvesters has no types
    harvester = Harvester(config=ParameterSet({ParameterKey.LOGGER: _log}))
    for producer in producers:
        harvester.add_file(str(producer))
    _complaints.said.clear()
    return harvester


def _without_chunk_data() -> Any:  # noqa: ANN401 - harvesters has no types
    """What a camera appends to its pictures is not looked at."""
    return ParameterSet({ParameterKey.ENABLE_AUTO_CHUNK_DATA_UPDATE: False})


@contextmanager
def _harvesting(producers: Sequence[Path]) -> Iterator[Any]:
    harvester = _harvester(producers)
    try:
        harvester.update()
        yield harvester
    finally:
        harvester.reset()


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Ctrl-C stays with who had it: harvesters takes it, and would let go of the camera within a frame."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _forget(node: Any) -> None:  # noqa: ANN401 - genicam has no types
    """Let a feature be read from the device: else all that it is made of would be remembered."""
    node.invalidate_node()
    for child in node.children:
        _forget(getattr(child, "node", child))


def _told(module: Any, name: str) -> Any:  # noqa: ANN401 - genicam has no types
    """What a producer tells of something of its own; ``None`` when it does not."""
    try:
        return getattr(module, name)
    except (GenericException, AttributeError):
        return None


def _chosen(infos: Sequence[Any], wish: str) -> Any:  # noqa: ANN401 - harvesters has no types
    for info in infos:
        if not wish or wish in {_told(info, one) for one in ("serial_number", "user_defined_name", "id_")}:
            return info
    there = "; ".join(f"{one.name}: {one.says}" for one in map(_found, infos))
    hint = f"There is {there}." if there else "Check cable and power, and that the producer fits the camera."
    raise SourceLost(
        f"no GenICam camera {wish} is there" if wish else "no GenICam camera is there",
        hint=" ".join((hint, *dict.fromkeys(_complaints.said))),
    )


def _found(info: Any) -> Found:  # noqa: ANN401 - harvesters has no types
    serial, model = _told(info, "serial_number"), _told(info, "model")
    says = f"{_told(info, 'vendor')} {model}, {_told(info, 'tl_type')}"
    return Found(name=f"genicam:{serial or _told(info, 'id_')}", says=says, serial=serial, model=model)
