"""A destination from its address."""

from importlib.util import find_spec

from uploader.addresses import folder_of, is_bucket, is_store
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
        meter: gives out the bytes of the bodies.

    Raises:
        ConfigurationError: what it needs is not installed, or the environment says something that cannot be used.
    """
    if not is_store(url):
        assert keys is not None
        return AtomscaleDestination(url, keys, meter)
    return ZarrDestination(make_store(url), meter)


def keys_for(url: str, given: str | None = None) -> Keys | None:
    """The API key of a destination, found before anything is begun; ``None`` for a store, which wants none.

    Raises:
        ConfigurationError: there is none, or what the destination needs is not installed.
    """
    require_parts(url)
    if is_store(url):
        return None
    keys = Keys(url, given)
    keys.current()
    return keys


def make_store(url: str) -> Store:
    """The store of that address, for one that is no server's; raises as `make_destination`."""
    require_parts(url)
    folder = folder_of(url)
    if folder is not None:
        return FolderStore(url, folder)
    from uploader.destinations.stores.objects import ObjectStore  # noqa: PLC0415 - of an extra

    return ObjectStore(url)


def require_parts(url: str) -> None:
    """See to it that what the destination needs is installed, without loading it.

    Raises:
        ConfigurationError: it is not.
    """
    if is_bucket(url) and find_spec("obstore") is None:
        raise ConfigurationError(
            f"{url} needs the extra 'objects', which is not installed",
            hint="Nothing was sent, and nothing is lost. Run: pip install 'framespool[objects]'",
        )
