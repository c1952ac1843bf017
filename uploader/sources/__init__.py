"""Where frames come from: a simulated camera, folders of images, TIFF stacks, arrays and videos.

Importing this package is cheap: the decoders (Pillow, tifffile, imageio, zarr) are imported by the first
source that needs one.
"""

from uploader.sources.base import Frame, Source, SourceError
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
    "open_source",
    "parse_simulator",
]
