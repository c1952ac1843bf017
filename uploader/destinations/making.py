"""A destination from its address."""

from uploader.addresses import folder_of, is_bucket
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Destination
from uploader.destinations.stores.base import Store
from uploader.destinations.stores.folder import FolderStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.errors import ConfigurationError
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
    if is_bucket(url):
        return ZarrDestination(_bucket(url))
    assert keys is not None
    return AtomscaleDestination(url, keys, meter)


def _bucket(url: str) -> Store:
    try:
        from uploader.destinations.stores.objects import ObjectStore  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{url} needs the extra 'objects', which is not installed",
            hint="Nothing was sent, and nothing is lost. Run: pip install 'framespool[objects]'",
        ) from error
    try:
        return ObjectStore(url)
    except Exception as error:
        raise ConfigurationError(f"{url} cannot be used: {str(error).partition(chr(10))[0]}") from error
