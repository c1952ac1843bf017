"""A simulated RHEED camera.

Invariants:

1. Frame k depends on the settings and on k alone: it is the same in whatever order frames are asked for, and
   in whatever process. (Across versions of NumPy, and in the last bit across processors, it may differ.)
2. A dark frame is exactly zero.

What is physical and what is not: spots stand where the Ewald construction puts them and move as the sample
turns; the specular spot, and half as deeply the others, oscillate as layers grow; light is counted in
electrons with shot noise, gain, offset and 8-bit saturation. Intensities are invented; Kikuchi lines are
drawn, not computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from uploader.sources import scenery
from uploader.sources.base import Frame, Source, SourceError, summary
from uploader.sources.diffraction import Crystal, Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SIDE_MIN, SIDE_MAX = 32, 8192
"""Smallest and largest height and width, in pixels."""

_SMALLEST = 1e-6
_DAMPING_PERIODS = 6.0
_MEAN_REFLECTIVITY = 0.55
_SPOT_SHARE = 0.5  # how much of the oscillation the other spots follow


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """What the simulated camera sees and how.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        fps: Frames per second; sets how far growth and rotation go between frames.
        frames: Number of frames; None never ends.
        seed: Decides noise, strengths of spots and dark frames.
        rotations_per_min: Turns of the sample about its normal, per minute.
        growth_period_s: Time to grow one layer, in seconds; infinite for no growth.
        brightness_electrons: Electrons that a pixel at the specular peak receives in one frame.
        gain: Grey levels for each electron.
        offset: Grey levels that the camera adds to every pixel.
        kikuchi: Whether to draw faint Kikuchi-like lines.
        dark_every: Every how many frames one is dark (50: frames 49, 99, …); None for none.
        dark_frames: Numbers of further frames that are dark.
        dark_probability: Chance of each frame to be dark, 0 to 1.
    """

    height: int = 300
    width: int = 500
    fps: float = 10.0
    frames: int | None = 200
    seed: int = 0
    rotations_per_min: float = 0.0
    growth_period_s: float = 8.0
    brightness_electrons: float = 1800.0
    gain: float = 0.13
    offset: float = 1.0
    kikuchi: bool = True
    dark_every: int | None = None
    dark_frames: tuple[int, ...] = ()
    dark_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            self._require(name, lambda side: SIDE_MIN <= side <= SIDE_MAX, f"from {SIDE_MIN} to {SIDE_MAX} pixels")
        for name in ("fps", "growth_period_s"):
            # Smaller ones are positive too, but a time divided by them is no number any more.
            self._require(name, lambda number: number >= _SMALLEST, f"{_SMALLEST:g} or more")
        for name in ("frames", "dark_every"):
            self._require(name, lambda number: number is None or number > 0, "positive, or none")
        for name in ("seed", "brightness_electrons", "gain", "offset"):
            self._require(name, lambda number: number >= 0, "zero or more")
        for name in ("fps", "rotations_per_min", "brightness_electrons", "gain", "offset"):
            self._require(name, math.isfinite, "finite")
        self._require("dark_frames", lambda numbers: all(k >= 0 for k in numbers), "zero or more each")
        self._require("dark_probability", lambda chance: 0 <= chance <= 1, "from 0 to 1")

    def _require(self, name: str, holds: Callable[[Any], bool], meaning: str) -> None:
        found = getattr(self, name)
        if not holds(found):
            raise SourceError(f"simulator: {name} must be {meaning}, not {found}", hint="Correct that setting.")


class Simulator(Source):
    """A source of simulated frames, any of which can be had by its number.

    The images that do not change are computed once. For each frame, the spots are placed anew and noise is
    drawn for every pixel. Shot noise is a Gaussian in the square root of the count: (sqrt(n) + z/2)² - 1/4
    has the mean n of the Poisson distribution and the variance n + 1/8, and is skewed the same way, at a
    fraction of the price. It is continuous, which shows where fewer than about three electrons are expected.

    Args:
        settings: What to simulate; the defaults if None.
    """

    __slots__ = ("_background", "_crystal", "_specular", "settings")

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings if settings is not None else SimulatorSettings()
        screen = Screen(height=self.settings.height, width=self.settings.width)
        electrons = np.float32(self.settings.brightness_electrons)
        self._crystal = Crystal(screen, seed=self.settings.seed)
        self._background = electrons * scenery.background(screen, kikuchi=self.settings.kikuchi)
        self._specular = electrons * scenery.specular(screen)

    @property
    def name(self) -> str:
        """Always `sim`."""
        return "sim"

    @property
    def frame_rate(self) -> float:
        """The settings' frames per second."""
        return self.settings.fps

    @property
    def length(self) -> int | None:
        """Number of frames; None if it never ends."""
        return self.settings.frames

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)`, in pixels."""
        return self.settings.height, self.settings.width

    def describe(self) -> str:
        """Say how many frames of which size, how fast, and from which seed."""
        line = summary("simulated RHEED", self.shape, length=self.length, frame_rate=self.frame_rate)
        return f"{line}, seed {self.settings.seed}"

    def frames(self) -> Iterator[Frame]:
        """Yield every frame from the first, as fast as they can be computed; see `Source.frames`."""
        for k in range(self.length) if self.length is not None else count():
            yield self.frame(k)

    def frame(self, k: int) -> Frame:
        """Return frame `k`, counted from zero.

        Returns:
            A new `uint8` array `(H, W)`, C-contiguous, owned by the caller.

        Raises:
            IndexError: There is no such frame.
        """
        if k < 0 or (self.length is not None and k >= self.length):
            raise IndexError(f"the simulator has no frame {k}")
        # SFC64 is the quickest to draw floats from; the pair (seed, k) makes each frame's stream its own.
        random = np.random.Generator(np.random.SFC64(np.random.SeedSequence([self.settings.seed, 1 + k])))
        # The coin is tossed even if it cannot count: dark frames do not change the noise of the others.
        if random.random() < self.settings.dark_probability or self._is_dark(k):
            return np.zeros(self.shape, dtype=np.uint8)
        return self._exposed(self._electrons(k), random)

    def _is_dark(self, k: int) -> bool:
        every = self.settings.dark_every
        return k in self.settings.dark_frames or (every is not None and (k + 1) % every == 0)

    def _electrons(self, k: int) -> NDArray[np.float32]:
        """Return the electrons expected in each pixel of frame `k`, `(H, W)`."""
        time_s = k / self.settings.fps
        turns = math.fmod(self.settings.rotations_per_min / 60.0 * time_s, 1.0)
        reflectivity = _reflectivity(time_s, self.settings.growth_period_s)
        expected = self._specular * np.float32(reflectivity)
        expected += self._background
        spots = self.settings.brightness_electrons * (1 - _SPOT_SHARE * (1 - reflectivity))
        self._crystal.add_spots(expected, math.tau * turns, spots)
        return expected

    def _exposed(self, expected: NDArray[np.float32], random: np.random.Generator) -> Frame:
        """Return what the camera makes of the expected electrons, which are overwritten."""
        noise = random.standard_normal(expected.shape, dtype=np.float32)
        noise *= np.float32(0.5)
        levels = np.sqrt(expected, out=expected)
        levels += noise
        np.square(levels, out=levels)
        levels *= np.float32(self.settings.gain)
        # Half a level, because the cast below cuts off: together they round to nearest.
        levels += np.float32(self.settings.offset - 0.25 * self.settings.gain + 0.5)
        np.clip(levels, 0, 255, out=levels)
        return levels.astype(np.uint8)


def _reflectivity(time_s: float, period_s: float) -> float:
    """Return the specular intensity relative to the fresh surface: damped oscillations about a mean."""
    damped = math.exp(-time_s / (_DAMPING_PERIODS * period_s)) * math.cos(math.tau * time_s / period_s)
    return _MEAN_REFLECTIVITY + (1 - _MEAN_REFLECTIVITY) * damped
