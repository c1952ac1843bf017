"""A destination from its address."""

from uploader.addresses import folder_of
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Destination
from uploader.destinations.stores.folder import FolderStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.keys import Keys
from uploader.rate import Meter


def make_destination(url: str, keys: Keys | None, meter: Meter | None = None) -> Destination:
    """The destination of that address.

    Args:
        url: in its one spelling, see `uploader.addresses`.
        keys: the API key; only a server wants one.
        meter: gives out the bytes of the bodies to a server; a folder takes them as they come.
    """
    folder = folder_of(url)
    if folder is not None:
        return ZarrDestination(FolderStore(url, folder))
    assert keys is not None
    return AtomscaleDestination(url, keys, meter)
