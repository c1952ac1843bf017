"""A video file, decoded by the ffmpeg that comes with imageio.

Every frame that is in the file is delivered once: left to itself, ffmpeg repeats and drops frames of an uneven
frame rate to make it even. Damage is never passed over: ffmpeg may leave out what it cannot decode and still
end well, so that any error in its log ends the source in an error, after the frames that could be read. imageio's
own reader sees neither, which is why ffmpeg is run here.

When each frame was captured is what the container says of it: ffmpeg's filter `showinfo` notes that in the log, in
the order of the frames and before it hands out each one.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from uploader.sources.base import Frame, SourceError, decoding, missing_extra, same_shape, since_first, summary
from uploader.sources.pixels import Scaling, to_grey

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

# ffmpeg's names of formats with more than 8 bits a sample: gray16le, yuv420p10le, p010le, rgb48be, xv30le.
_DEEP_FORMAT = re.compile(r"(9|10|12|14|16|20|30|32|36|48|64|96|128)(msb)?(le|be)$")
# "Stream #0:0: Video: ffv1 (FFV1 / 0x31564646), gray(pc, progressive), 64x48, 10 fps, 10 tbr"
_STREAM = re.compile(r"Stream #0:.*?: Video: [^,]*?(?:\([^)]*\)[^,]*?)*, (\w+)(.*)")
_ERROR = re.compile(r"\[(error|fatal|panic)\]")
_RATE = re.compile(r" ([0-9.]+) fps")
_VERSION = re.compile(r"(\d+)\.(\d+)")
# The line of a frame: [Parsed_showinfo_0 @ 0x6000] [info] n:  12 pts:  1200 pts_time:1.2 duration: and so on
_SHOWN = re.compile(rb"showinfo.* n: *(\d+) pts: *\S+ +pts_time: *(\S+)")
_FPS_MODE_SINCE = (5, 1)
# Netpbm, because each image carries its own size: the magic of grey and of colour, and their channels.
_NETPBM_CHANNELS = {b"P5\n": 1, b"P6\n": 3}
_NETPBM_CODECS = {"gray": "pgm", "rgb24": "ppm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file.

    Attributes:
        name: The file's name.
        path: The file.
        shape: `(height, width)` of every frame, as ffmpeg shows them (a recorded rotation is applied).
        frame_rate: Frames per second as the file says, an average if it is uneven; None if it does not say.
        pixel_format: ffmpeg's name of what is read from it: `gray` or `rgb24`.
        scaling: A window for the 8-bit levels, if any.
        length: Always None: containers do not say it reliably, and counting means decoding everything.
    """

    name: str
    path: Path
    shape: tuple[int, int]
    frame_rate: float | None
    pixel_format: str
    scaling: Scaling | None = None
    length: int | None = None

    def describe(self) -> str:
        """Say how large and how fast."""
        return summary(f"video {self.name}", self.shape, frame_rate=self.frame_rate)

    @property
    def has_times(self) -> bool:
        """Always: every container of video has a time for each frame."""
        return True

    def frames(self) -> Generator[Frame, None, None]:
        """Yield each frame; see `Source.frames`. ffmpeg runs until the iterator is exhausted or closed."""
        with _ffmpeg(self.path, self.pixel_format) as decoder:
            yield from self._images(decoder)

    def timed_frames(self) -> Generator[tuple[Frame, float], None, None]:
        """Yield each frame with its time; see `TimedSource.timed_frames`."""
        with _ffmpeg(self.path, self.pixel_format, "-vf", "showinfo") as decoder:
            pairs = ((frame, decoder.shown_ms(number)) for number, frame in enumerate(self._images(decoder)))
            yield from since_first(pairs, str(self.path))

    def _images(self, decoder: _Decoder) -> Generator[Frame, None, None]:
        for number in count():
            where = f"{self.path}, frame {number}"
            pixels = decoder.image(where)
            if pixels is None:
                return
            yield same_shape(to_grey(pixels, self.scaling, where), self.shape, where)


def open_video(path: Path, *, scaling: Scaling | None = None) -> Video:
    """Open a video file; its headers and first frame are read.

    Raises:
        SourceError: ffmpeg cannot read it, it has no frame, or it has more than 8 bits for a sample.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file", hint="Check the path.")
    with _ffmpeg(path, "rgb24", "-frames:v", "1") as decoder:
        pixels = decoder.image(str(path))
        if pixels is None:
            raise SourceError(f"{path}: the video has no frames", hint="The recording is empty or damaged.")
        # ffmpeg decodes ahead: damage that it met beyond the first frame is for `frames()` to report.
        stored, frame_rate = _facts(decoder.log_text())
    if _DEEP_FORMAT.search(stored):
        raise SourceError(
            f"{path}: the video has more than 8 bits a sample ({stored}), which would be narrowed",
            hint="Make it a TIFF stack and choose a scaling, or make it 8-bit with ffmpeg -pix_fmt gray.",
        )
    height, width = to_grey(pixels, scaling, f"{path}, frame 0").shape
    return Video(
        name=path.name,
        path=path,
        shape=(height, width),
        frame_rate=frame_rate,
        pixel_format="gray" if stored == "gray" else "rgb24",
        scaling=scaling,
    )


@dataclass(slots=True, kw_only=True)
class _Decoder:
    """A running ffmpeg: images come from its output, and its log goes to a file, which never fills a pipe.

    Attributes:
        process: ffmpeg.
        output: Its images.
        log: Its log, opened once more for reading: so each has its own place in it.
        line: A line of the log of which the end is not there yet.
    """

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    log: IO[bytes]
    line: bytes = b""

    def image(self, where: str) -> NDArray[np.uint8] | None:
        """Return the next image, `(H, W, channels)`, or None after the last one.

        Raises:
            SourceError: ffmpeg ended in the middle of an image, or said that it failed.
        """
        magic = self.output.readline()
        if not magic:
            if self.process.wait() != 0 or self._errors():
                raise self._failed(where)
            return None
        with decoding(where):
            channels = _NETPBM_CHANNELS[magic]
            width, height = (int(side) for side in self.output.readline().split())
            self.output.readline()  # the highest level, always 255
            raw = self.output.read(height * width * channels)
        if len(raw) < height * width * channels:
            raise self._failed(where)
        return np.frombuffer(raw, dtype=np.uint8).reshape(height, width, channels)

    def shown_ms(self, number: int) -> float | None:
        """Return the time of frame `number`, which was just handed out, or None if the container has none for it.

        Frames are asked for in order.
        """
        while piece := self.log.readline():
            self.line += piece
            if not self.line.endswith(b"\n"):
                continue
            whole, self.line = self.line, b""
            shown = _SHOWN.search(whole)
            if shown is not None and int(shown[1]) == number:
                with suppress(ValueError):  # of NOPTS
                    return 1000 * float(shown[2])
                return None
        return None

    def log_text(self) -> str:
        """Return what ffmpeg logged, once it has ended."""
        self.process.wait()
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def _errors(self) -> list[str]:
        return [line.strip() for line in self.log_text().splitlines() if _ERROR.search(line)]

    def _failed(self, where: str) -> SourceError:
        errors = self._errors() or ["ffmpeg said nothing"]
        return SourceError(
            f"{where}: cannot be read: {errors[0]}",
            hint="The video is damaged here. What can be saved is saved by: ffmpeg -i VIDEO -c:v ffv1 NEW.mkv",
        )


@contextmanager
def _ffmpeg(path: Path, pixel_format: str, *options: str) -> Iterator[_Decoder]:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, and ships no types
    except ImportError as error:
        raise missing_extra("imageio[ffmpeg]", "read a video") from error
    with decoding("ffmpeg"):
        program, version = imageio_ffmpeg.get_ffmpeg_exe(), imageio_ffmpeg.get_ffmpeg_version()
    command = [program, "-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info"]
    command += ["-xerror", "-err_detect", "explode"]
    # An absolute path: ffmpeg takes "a:b.mp4" for a protocol called "a".
    command += ["-i", str(path.absolute()), "-map", "0:v:0", *_every_frame_once(version), *options]
    command += ["-pix_fmt", pixel_format, "-c:v", _NETPBM_CODECS[pixel_format], "-f", "image2pipe", "-"]
    # Windows may hold the log a moment longer than the program that wrote it.
    with tempfile.TemporaryDirectory(prefix="framespool-", ignore_cleanup_errors=True) as folder:
        written = Path(folder, "ffmpeg.log")
        with written.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program and options; the path is one argument
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for us to answer: ffmpeg must not end the video in the middle of it.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        with process, written.open("rb") as read:
            assert process.stdout is not None
            try:
                yield _Decoder(process=process, output=process.stdout, log=read)
            finally:
                process.kill()


def _facts(log: str) -> tuple[str, float | None]:
    """Return, of the first video stream, the pixel format's name and the frames per second."""
    stream = _STREAM.search(log)
    if stream is None:
        return "", None
    rate = _RATE.search(stream[2])
    return stream[1], (float(rate[1]) or None) if rate is not None else None


def _every_frame_once(version: str) -> list[str]:
    """Return the option that stops ffmpeg from evening out the frame rate; its name changed in 5.1."""
    found = _VERSION.search(version)
    old = found is not None and (int(found[1]), int(found[2])) < _FPS_MODE_SINCE
    return ["-vsync" if old else "-fps_mode", "passthrough"]
