"""framespool's uploader: record RHEED frames durably, deliver them in order, prove what arrived."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uploader.errors import (
        ConfigurationError,
        KeyRefused,
        RequestRefused,
        ServerUnreachable,
        UploaderError,
    )
    from uploader.events import EventKind, StreamerEvent
    from uploader.reports import ClockReport, FinalizeReport, SpoolReport
    from uploader.streamer import RHEEDStreamer
    from uploader.worker import UploadWorker

__version__ = "0.1.0"
MADE_BY = f"framespool {__version__}"
"""What proofs, packs and pages say that they were made by."""

__all__ = [
    "ClockReport",
    "ConfigurationError",
    "EventKind",
    "FinalizeReport",
    "KeyRefused",
    "RHEEDStreamer",
    "RequestRefused",
    "ServerUnreachable",
    "SpoolReport",
    "StreamerEvent",
    "UploadWorker",
    "UploaderError",
]

# Imported when first asked for: the command line and the loopback server start without the rest.
_HOMES = {
    "ClockReport": "uploader.reports",
    "ConfigurationError": "uploader.errors",
    "EventKind": "uploader.events",
    "FinalizeReport": "uploader.reports",
    "KeyRefused": "uploader.errors",
    "RHEEDStreamer": "uploader.streamer",
    "RequestRefused": "uploader.errors",
    "ServerUnreachable": "uploader.errors",
    "SpoolReport": "uploader.reports",
    "StreamerEvent": "uploader.events",
    "UploadWorker": "uploader.worker",
    "UploaderError": "uploader.errors",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
