"""The frames that are pushed: shot noise, those of the simulator, white noise, and real ones from a folder.

They are made once, kept as a ``.npy`` file in the work folder, and loaded from there by whoever pushes, so that
all contenders push the very same ones.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uploader.sources.simulator import Simulator, SimulatorSettings

HEIGHT, WIDTH = 300, 500
_SEED = 20261124
_SUFFIXES = frozenset({".bmp", ".png", ".tif", ".tiff", ".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """One chunk's worth of frames, uint8 ``(n, height, width)``, in a ``.npy`` file."""

    kind: str
    path: Path
    n: int
    height: int
    width: int

    @property
    def raw_bytes(self) -> int:
        """How many bytes they have before they are compressed."""
        return self.n * self.height * self.width

    def load(self) -> NDArray[np.uint8]:
        """The frames, C order, owned by the caller."""
        loaded: NDArray[np.uint8] = np.load(self.path)
        return loaded


def poisson(folder: Path, n: int, *, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """Shot noise over spots on a background, exposed so that a pixel has some 25 levels on average."""
    path = folder / f"poisson-{n}x{height}x{width}.npy"
    if not path.exists():
        dice = np.random.default_rng(_SEED)
        scene = _spots(height, width)
        noisy = (np.minimum(dice.poisson(scene), 255).astype(np.uint8) for _ in range(n))
        _save(path, np.stack(list(noisy)))
    return Frames(kind="poisson", path=path, n=n, height=height, width=width)


def simulated(folder: Path, n: int, *, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """The simulator's, dark between the spots: they compress better than shot noise, and take longer."""
    path = folder / f"simulator-{n}x{height}x{width}.npy"
    if not path.exists():
        simulator = Simulator(SimulatorSettings(height=height, width=width, fps=120.0, frames=n, seed=_SEED))
        _save(path, np.stack(list(simulator.frames())))
    return Frames(kind="simulator", path=path, n=n, height=height, width=width)


def white(folder: Path, n: int, *, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """White noise, which nothing compresses."""
    path = folder / f"white-{n}x{height}x{width}.npy"
    if not path.exists():
        dice = np.random.default_rng(_SEED)
        _save(path, dice.integers(0, 256, (n, height, width), dtype=np.uint8))
    return Frames(kind="white", path=path, n=n, height=height, width=width)


def real(folder: Path, n: int, images: Path) -> Frames:
    """The images of a folder in the order of their names, over and over until there are ``n``.

    Raises:
        FileNotFoundError: there are none in it.
    """
    from PIL import Image  # noqa: PLC0415 - of an extra, and only needed here

    listed = sorted(one for one in images.iterdir() if one.suffix.lower() in _SUFFIXES)
    if not listed:
        raise FileNotFoundError(f"no images in {images}")
    loaded = [np.asarray(Image.open(one).convert("L")) for one in listed[:n]]
    frames = np.stack(list(itertools.islice(itertools.cycle(loaded), n)))
    path = folder / f"real-{n}.npy"
    _save(path, frames)
    return Frames(kind="real", path=path, n=n, height=frames.shape[1], width=frames.shape[2])


def _spots(height: int, width: int) -> NDArray[np.float64]:
    """The levels expected in each pixel."""
    y, x = np.mgrid[0:height, 0:width] / height
    scene = np.full((height, width), 20.0)
    for order in range(-3, 4):
        from_spot = (x - width / height / 2 - 0.2 * order) ** 2 + ((y - 0.4 - 0.02 * order**2) / 3) ** 2
        scene += 200 / (1 + abs(order)) * np.exp(-from_spot / 0.0004)
    return scene


def _save(path: Path, frames: NDArray[np.uint8]) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, frames)
    part.replace(path)
