"""A store from its address; apart from the destinations, so that who only reads one loads no network for it."""

from importlib.util import find_spec

from uploader.addresses import folder_of, is_bucket
from uploader.destinations.stores.base import Store
from uploader.destinations.stores.folder import FolderStore
from uploader.errors import ConfigurationError


def make_store(url: str, *, reads_only: bool = False) -> Store:
    """The store of that address, for one that is no server's.

    Args:
        url: in its one spelling, see `uploader.addresses`.
        reads_only: nothing will be written, so that a folder needs no mark.

    Raises:
        ConfigurationError: what it needs is not installed, or the environment says something that cannot be used.
    """
    require_parts(url)
    folder = folder_of(url)
    if folder is not None:
        return FolderStore(url, folder, is_marked=not reads_only)
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
