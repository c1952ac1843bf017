"""Where a surface's diffraction spots fall on the screen: the Ewald construction, for the simulated camera.

A two-dimensional crystal diffracts along rods that stand on its reciprocal lattice. An electron leaves along
rod g in the direction (kx - gx, gy, kz) with kz fixed by its energy: the points where rods pierce the Ewald
sphere. Seen on a flat screen they lie on the Laue circles, and turning the sample moves them. Lengths are in
units of the electrons' wave number, angles in radians, screen positions in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Matched by eye to a recording of Si(111): radii of the Laue circles, and the distance of spots along them.
_GRAZING_ANGLE = 0.035
_CAMERA_LENGTH = 2.26  # in heights of the frame
_ROD_SPACING = 0.0068
_SUPERLATTICE = 7  # every seventh rod belongs to the unreconstructed crystal and is strong

_STRONG, _WEAK = 0.9, 0.45  # of the specular spot
_FAINTEST = 0.004
_PATCH_SIGMAS = 3.2
_STREAK_MAX = 4.0  # a spot's height over its width, at most
_ROUND = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """How the pattern lies on the frame.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
    """

    height: int
    width: int

    @property
    def centre_column(self) -> float:
        """Column of the plane of incidence, in pixels."""
        return 0.53 * self.width

    @property
    def horizon_row(self) -> float:
        """Row of the shadow edge, in pixels: beams that graze the surface arrive here, all others below."""
        return 0.14 * self.height

    @property
    def camera_length(self) -> float:
        """Distance of the screen from the sample, in pixels."""
        return _CAMERA_LENGTH * self.height

    @property
    def spot_sigma(self) -> float:
        """Standard deviation of a spot across the streak, in pixels."""
        return max(0.7, 0.0036 * self.height)

    @property
    def specular_row(self) -> float:
        """Row of the mirror-reflected beam, in pixels."""
        return self.horizon_row + self.camera_length * math.tan(_GRAZING_ANGLE)


class Crystal:
    """The rods of a reconstructed hexagonal surface and the spots they make at any azimuth.

    Args:
        screen: Where the spots fall.
        seed: Decides how strong each rod is.
    """

    __slots__ = ("_along", "_screen", "_strength", "_turned")

    def __init__(self, screen: Screen, *, seed: int) -> None:
        self._screen = screen
        self._along, self._turned, self._strength = _rods(_reach(screen), seed)

    def add_spots(self, image: NDArray[np.float32], azimuth_rad: float, brightness: float) -> None:
        """Add every spot but the specular one to `image`, in place.

        Args:
            image: `float32`, `(height, width)`, C-contiguous.
            azimuth_rad: How far the sample is turned about its normal.
            brightness: The value that a spot as strong as the specular one has at its peak.
        """
        spots = self._spots(azimuth_rad)
        # Few spots are streaks: adding the round ones in small patches takes a third of the time.
        round_ones = spots.streak < _ROUND
        for group, streak_max in ((round_ones, _ROUND), (~round_ones, _STREAK_MAX)):
            self._add(image, spots.only(group), streak_max, brightness)

    def _add(self, image: NDArray[np.float32], spots: _Spots, streak_max: float, brightness: float) -> None:
        """Add Gaussian patches, each tall enough for the longest streak of its group."""
        sigma = self._screen.spot_sigma
        place_down, down = _patch(spots.rows, sigma * streak_max)
        place_across, across = _patch(spots.columns, sigma)
        profile_down = np.exp(-0.5 * np.square(down / (sigma * spots.streak)[:, np.newaxis]))
        profile_down *= (np.float32(brightness) * spots.strength)[:, np.newaxis]
        profile_across = np.exp(-0.5 * np.square(across / np.float32(sigma)))
        patches = profile_down[:, :, np.newaxis] * profile_across[:, np.newaxis, :]
        # Spots whose patch would leave the frame were left out, so that every place is inside.
        places = (place_down * self._screen.width)[:, :, np.newaxis] + place_across[:, np.newaxis, :]
        np.add.at(image.reshape(-1), places.reshape(-1), patches.reshape(-1))

    def _spots(self, azimuth_rad: float) -> _Spots:
        """Return the spots whose whole patch is on the frame and that are strong enough to be seen."""
        cos, sin = np.float32(math.cos(azimuth_rad)), np.float32(math.sin(azimuth_rad))
        forward = np.float32(math.cos(_GRAZING_ANGLE)) - (cos * self._along - sin * self._turned)
        aside = sin * self._along + cos * self._turned
        upward_squared = 1 - np.square(forward) - np.square(aside)
        leaves = (upward_squared > 1e-6) & (forward > 0)  # noqa: PLR2004 - kz = 0.001, hardly above the surface
        forward, aside, strength = forward[leaves], aside[leaves], self._strength[leaves]
        upward = np.sqrt(upward_squared[leaves])
        screen = self._screen
        rows = np.float32(screen.horizon_row) + np.float32(screen.camera_length) * upward / forward
        columns = np.float32(screen.centre_column) + np.float32(screen.camera_length) * aside / forward
        # A rod of finite width is cut slantwise near the horizon: its spot becomes a streak.
        streak = np.clip(np.float32(0.075) / upward, 1.0, _STREAK_MAX)
        strength = strength * np.exp(-upward / np.float32(0.085))
        down, side = _half(screen.spot_sigma * _STREAK_MAX) + 1, _half(screen.spot_sigma) + 1
        seen = (strength > _FAINTEST) & (rows > down) & (rows < screen.height - down - 1)
        seen &= (columns > side) & (columns < screen.width - side - 1)
        return _Spots(rows=rows, columns=columns, streak=streak, strength=strength).only(seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spots:
    """Spots: centre in pixels, height over width, peak relative to the specular spot; each `(n,)`."""

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    streak: NDArray[np.float32]
    strength: NDArray[np.float32]

    def only(self, chosen: NDArray[np.bool_]) -> _Spots:
        """Return the chosen ones."""
        return _Spots(
            rows=self.rows[chosen],
            columns=self.columns[chosen],
            streak=self.streak[chosen],
            strength=self.strength[chosen],
        )


def _patch(centres: NDArray[np.float32], sigma: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return, along one axis, the pixels around each centre and their distances to it, `(n, pixels)`."""
    nearest = np.rint(centres)
    around = np.arange(-_half(sigma), _half(sigma) + 1)
    places = nearest.astype(np.intp)[:, np.newaxis] + around
    return places, around.astype(np.float32) - (centres - nearest)[:, np.newaxis]


def _half(sigma: float) -> int:
    return math.ceil(_PATCH_SIGMAS * sigma)


def _reach(screen: Screen) -> float:
    """Return the length of the longest rod position that can fall on the screen."""
    return max(screen.centre_column, screen.width - screen.centre_column) / screen.camera_length


def _rods(reach: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return, for azimuth zero, positions along and across the beam, and strengths; without the specular."""
    steps = math.ceil(1.2 * reach / _ROD_SPACING)
    first, second = np.meshgrid(np.arange(-steps, steps + 1), np.arange(-steps, steps + 1), indexing="ij")
    across = _ROD_SPACING * (second + 0.5 * first)
    along = _ROD_SPACING * math.sqrt(0.75) * first
    main = (first % _SUPERLATTICE == 0) & (second % _SUPERLATTICE == 0)
    # Structure factors of a large cell are as good as random; their squares are intensities.
    random = np.random.default_rng(np.random.SeedSequence([seed, 0])).random(first.shape)
    strength = np.where(main, _STRONG * (0.5 + 0.5 * random), _WEAK * (0.15 + 0.85 * random**2))
    distance = np.hypot(along, across)
    strength *= np.exp(-np.square(distance / 0.22))
    kept = (distance > 0) & (distance < reach) & (strength > _FAINTEST)
    return (
        along[kept].astype(np.float32),
        across[kept].astype(np.float32),
        strength[kept].astype(np.float32),
    )
