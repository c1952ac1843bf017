"""What the tests of cameras share."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from uploader.sources import genicam, pylon  # noqa: F401 - see below
from uploader.sources.live import Grabbed, LiveSource

# Loaded by ours already, with care: where warnings are errors, importing them may end the process.
SDK: Any = import_module("pypylon.pylon")
GENTL: Any = import_module("genicam.gentl")
GENAPI: Any = import_module("genicam.genapi")
HARVESTERS: Any = import_module("harvesters.core")

VIKY = Path(GENTL.__file__).parent / "viky.cti"
"""A whole GenTL producer with three cameras, as the standard's makers hand it out with their package."""

needs_viky = pytest.mark.skipif(sys.platform == "darwin", reason="the package has no producer for macOS")


def grabbed(camera: LiveSource) -> Grabbed:
    """The next whole frame."""
    for _ in range(100):
        one = camera.grab(5.0)
        if one is not None:
            return one
    raise AssertionError("no frame came")


def number_of(camera: LiveSource) -> int:
    """That of the next whole frame."""
    number = grabbed(camera).number
    assert number is not None
    return number


def grab_on(camera: LiveSource) -> None:
    """Take frames until something is raised."""
    for _ in range(1000):
        camera.grab(5.0)
