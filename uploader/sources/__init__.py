"""Where frames come from: a simulated camera, images, TIFF stacks, arrays and videos; folders that fill.

Importing this package is cheap: the decoders (Pillow, tifffile, imageio, zarr, h5py) are imported by the first
source that needs one.
"""

from uploader.sources.base import Frame, Source, SourceError, TimedSource, times_of
from uploader.sources.opening import open_source
from uploader.sources.pixels import Scaling, ScalingKind
from uploader.sources.simulator import Simulator, SimulatorSettings
from uploader.sources.simulator_text import parse_simulator

__all__ = [
    "Frame",
    "Scaling",
    "ScalingKind",
    "Simulator",
    "SimulatorSettings",
    "Source",
    "SourceError",
    "TimedSource",
    "open_source",
    "parse_simulator",
    "times_of",
]
