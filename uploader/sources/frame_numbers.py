"""A camera's own count of its frames, made one that never turns over; and its clock, in nanoseconds.

GigE Vision counts blocks in 16 bits, from 1: after 65535 comes 1 again, and 0 never. USB3 Vision, CoaXPress and
GigE Vision 2 count in 64 bits. A gap across the turn is as long as any other.
"""

from __future__ import annotations

from typing import Final

from uploader.sources.live import SourceLost

_TURN: Final = 0xFFFF  # so many numbers there are, as 0 is none of them
_HALF: Final = _TURN // 2
_NS: Final = 1_000_000_000


class FrameNumbers:
    """Follows the numbers of one run of a camera.

    Args:
        may_turn: it may count in 16 bits.
    """

    def __init__(self, *, may_turn: bool) -> None:
        self._may_turn = may_turn
        self._last: int | None = None
        self._turned = 0
        self._results = 0
        self._counts = True

    @property
    def counts(self) -> bool:
        """Whether the camera numbers its frames, as far as is known."""
        return self._counts

    def skip(self) -> None:
        """A frame came that cannot be used."""
        self._results += 1

    def follow(self, raw: int | None) -> int:
        """The number of a frame that came, of all since the start.

        Of a camera that does not count, it is that of what came, the useless ones included.

        Args:
            raw: what the camera says; ``None`` when it says nothing.

        Raises:
            SourceLost: the camera has begun to count anew: it was reset, and what it lost meanwhile is unknown.
        """
        last, self._last = self._last, raw
        self._results += 1
        if raw is None or raw == last == 0:
            self._counts = False  # some say 0 of each
        if raw is None or not self._counts:
            return self._results - 1
        if last is not None and raw <= last:
            step = (raw - last) % _TURN
            if not self._may_turn or last > _TURN or raw == 0 or not 0 < step <= _HALF:
                raise SourceLost(
                    f"the camera counts its frames anew: {raw} came after {last}",
                    hint="It was reset. It is started again, and the gap is recorded.",
                )
            self._turned += _TURN
        return self._turned + raw


def nanoseconds(ticks: int, frequency_hz: int) -> int | None:
    """A camera's time; ``None`` for 0, which cameras without a clock say of each frame."""
    return ticks * _NS // frequency_hz if ticks > 0 and frequency_hz > 0 else None
