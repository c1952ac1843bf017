"""A destination from its address."""

from uploader.addresses import is_store
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Destination
from uploader.destinations.stores.making import make_store, require_parts
from uploader.destinations.zarr_store import ZarrDestination
from uploader.keys import Keys
from uploader.layout import DEFAULT_LAYOUT
from uploader.rate import Meter


def make_destination(
    url: str, keys: Keys | None, meter: Meter | None = None, *, layout: str = DEFAULT_LAYOUT
) -> Destination:
    """The destination of that address.

    Args:
        url: in its one spelling, see `uploader.addresses`.
        keys: the API key; only a server wants one.
        meter: gives out the bytes of the bodies.
        layout: where streams lie below it; a server has its own.

    Raises:
        ConfigurationError: what it needs is not installed, or the environment says something that cannot be used.
    """
    if not is_store(url):
        assert keys is not None
        return AtomscaleDestination(url, keys, meter)
    return ZarrDestination(make_store(url), meter, layout=layout)


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
