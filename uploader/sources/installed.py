"""Which kinds of live source there are: ours, and those that other packages bring as entry points.

A lab adds its own with a function ``(rest, wanted) -> LiveSource`` and two lines in its ``pyproject.toml``::

    [project.entry-points."framespool.sources"]
    mycamera = "mylab.cameras:open_mycamera"

``framespool record mycamera:7`` then calls ``open_mycamera("7", wanted)``. A name of ours cannot be taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from uploader.sources.base import SourceError

if TYPE_CHECKING:
    from uploader.sources.drivers import Found
    from uploader.sources.live import LiveSource, OpensLive, Wanted

GROUP: Final = "framespool.sources"
# At least two letters: a single one before a colon is a Windows drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of live source.

    Attributes:
        scheme: what stands before the colon.
        says: what it is, and what may follow the colon.
        opener: ``module:function``.
        needs: the module that must be there, for one of ours; ``None`` when nothing is needed.
        extra: the extra of framespool that brings it.
        looks: ``module:function`` that finds the devices that are there, for one of ours that can.
        entry_point: of another package.
    """

    scheme: str
    says: str
    opener: str
    needs: str | None = None
    extra: str | None = None
    looks: str | None = None
    entry_point: EntryPoint | None = None

    @property
    def is_installed(self) -> bool:
        """Whether what it needs is there; it may fail nevertheless."""
        return self.needs is None or find_spec(self.needs) is not None

    @property
    def install(self) -> str:
        """What to type to get it; empty for one of another package."""
        return f'pip install "framespool[{self.extra}]"' if self.extra is not None else ""

    def load(self) -> OpensLive:
        """The function that opens one.

        Raises:
            SourceError: what it needs is not there, or cannot be imported.
        """
        if not self.is_installed:
            raise SourceError(
                f"{self.scheme}: needs {self.needs}, and it is not installed",
                hint=f"Nothing was begun. Install the extra: {self.install}",
            )
        try:
            if self.entry_point is not None:
                loaded: OpensLive = self.entry_point.load()
                return loaded
            opener: OpensLive = _function(self.opener)
        except Exception as error:  # of somebody else's package: anything
            raise SourceError(
                f"{self.scheme}: what opens it ({self.opener}) cannot be imported: {error}",
                hint="Nothing was begun. Install that package again, or ask whoever made it.",
            ) from error
        return opener

    def look(self) -> list[Found] | None:
        """The devices of this kind that are there; ``None`` where that cannot be asked.

        Raises:
            SourceError: what it needs is not there, or it cannot look.
        """
        if self.looks is None:
            return None
        self.load()  # what cannot be imported is told in its words
        found: list[Found] = _function(self.looks)()
        return found


OURS: Final = (
    Kind(
        scheme="pylon",
        says="a Basler camera by its serial number or name; the first one without",
        opener="uploader.sources.pylon:open_pylon",
        needs="pypylon",
        extra="pylon",
        looks="uploader.sources.pylon:look",
    ),
    Kind(
        scheme="genicam",
        says="any GenICam camera, through a GenTL producer's .cti file",
        opener="uploader.sources.genicam:open_genicam",
        needs="harvesters",
        extra="genicam",
        looks="uploader.sources.genicam:look",
    ),
    Kind(
        scheme="opencv",
        says="a USB camera by its number, or the address of a network stream (RTSP)",
        opener="uploader.sources.opencv:open_opencv",
        needs="cv2",
        extra="opencv",
        looks="uploader.sources.opencv:look",
    ),
    Kind(
        scheme="micromanager",
        says="a camera that Micro-Manager knows, by a configuration file (.cfg)",
        opener="uploader.sources.micromanager:open_micromanager",
        needs="pymmcore",
        extra="micromanager",
    ),
    Kind(
        scheme="watch",
        says="a folder that another program fills with images",
        opener="uploader.sources.watch:open_watch",
        needs="PIL",
        extra="media",
    ),
)


def kinds() -> list[Kind]:
    """Every kind there is, ours first, then those of other packages by name."""
    ours = {one.scheme for one in OURS}
    theirs = [
        Kind(scheme=one.name, says=f"from {_package_of(one)}", opener=one.value, entry_point=one)
        for one in sorted(entry_points(group=GROUP), key=lambda one: one.name)
        if one.name not in ours
    ]
    return [*OURS, *theirs]


def open_live(text: str, wanted: Wanted) -> LiveSource | None:
    """The live source that a person named as ``scheme:rest``; ``None`` when it is no such name.

    Raises:
        SourceError: there is such a kind, but it cannot be opened.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    found = next((one for one in kinds() if one.scheme == scheme[1].lower()), None)
    return None if found is None else found.load()(text[scheme.end() :], wanted)


def _function(name: str) -> Any:  # noqa: ANN401 - whoever names it knows its type
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


def _package_of(one: EntryPoint) -> str:
    return one.dist.name if one.dist is not None else one.value
