"""The unchanging parts of a simulated frame: glow, screen, shadow edge, Kikuchi lines, specular beam."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from uploader.sources.diffraction import Screen

# Directions of the faint lines (slope: columns for each row) and where they cross the horizon (in widths).
_KIKUCHI_LINES = ((-1.9, 0.62), (1.7, 0.40), (-3.4, 0.83), (3.1, 0.22), (-0.9, 0.70), (0.8, 0.33))


def background(screen: Screen, *, kikuchi: bool) -> NDArray[np.float32]:
    """Return the diffuse background: a glow about the specular spot on a round phosphor screen.

    Args:
        screen: Where the pattern lies.
        kikuchi: Whether to draw faint Kikuchi-like lines. They stay where they are when the sample turns.

    Returns:
        `float32`, `(height, width)`, relative to the specular peak (1.0).
    """
    rows, columns = _grid(screen)
    height, width = screen.height, screen.width
    distance = np.hypot(rows - screen.specular_row, columns - screen.centre_column)
    glow = 0.022 + 0.052 * np.exp(-distance / (0.22 * height)) + 0.03 * np.exp(-distance / (0.07 * height))
    if kikuchi:
        glow = glow * _kikuchi(screen)
    # Below the horizon the surface shines; above it, the sample's shadow leaves little.
    lit = 0.22 + 0.78 * _step((rows - screen.horizon_row) / (0.012 * height))
    radius = np.hypot((rows - 0.52 * height) / (0.68 * height), (columns - 0.515 * width) / (0.48 * width))
    phosphor = _step((1 - radius) / 0.018) * (1 - 0.35 * np.square(radius))
    rim = 0.004 * np.exp(-np.square((radius - 1.06) / 0.02))
    image: NDArray[np.float32] = (glow * lit * np.clip(phosphor, 0, None) + rim).astype(np.float32)
    return image


def specular(screen: Screen) -> NDArray[np.float32]:
    """Return the specular beam, core, halo and vertical streak: `float32`, `(height, width)`, peak 1.0."""
    rows, columns = _grid(screen)
    down, across = rows - screen.specular_row, columns - screen.centre_column
    sigma = 1.6 * screen.spot_sigma
    core = np.exp(-0.5 * (np.square(down / (1.5 * sigma)) + np.square(across / sigma)))
    halo = np.exp(-np.hypot(down, across) / (5 * sigma))
    streak = np.exp(-0.5 * np.square(across / sigma) - np.abs(down) / (0.05 * screen.height))
    streak *= _step((rows - screen.horizon_row) / (0.012 * screen.height))
    image: NDArray[np.float32] = (0.76 * core + 0.08 * halo + 0.16 * streak).astype(np.float32)
    return image


def _kikuchi(screen: Screen) -> NDArray[np.float64]:
    """Return a factor about one: each line is a bright ridge with a dark one beside it."""
    rows, columns = _grid(screen)
    factor = np.ones((screen.height, screen.width))
    thickness = 0.012 * screen.height
    for slope, crossing in _KIKUCHI_LINES:
        offset = columns - crossing * screen.width - slope * (rows - screen.horizon_row)
        distance = offset / np.hypot(1, slope) / thickness
        factor += 0.09 * np.exp(-np.square(distance)) - 0.05 * np.exp(-np.square(distance - 1.8))
    return factor


def _grid(screen: Screen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return row numbers `(height, 1)` and column numbers `(1, width)`."""
    rows = np.arange(screen.height, dtype=np.float64)[:, np.newaxis]
    return rows, np.arange(screen.width, dtype=np.float64)[np.newaxis, :]


def _step(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a soft step from 0 to 1 about zero."""
    step: NDArray[np.float64] = 0.5 * (1 + np.tanh(distance))
    return step
