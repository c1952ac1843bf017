"""Which proxy stands between us and a URL: the rules of httpx, told so that a person can follow them.

Source: httpx 0.28, ``get_environment_proxies`` and ``URLPattern``; a test holds this against a real client.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a URL is reached.

    Attributes:
        host, port: whom we connect to: the server or the proxy.
        through: the kind of the proxy; ``None`` without one.
        because: the variable that says so, or why there is none.
    """

    host: str
    port: int
    through: str | None
    because: str

    @property
    def shown(self) -> str:
        """The proxy without its credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.through}://{host}:{self.port}"


def way_to(url: str) -> Way:
    """How this URL is reached by the settings of environment and system."""
    known, target = getproxies(), urlsplit(url)
    variable = next((one for one in (target.scheme, "all") if known.get(one)), None)
    if variable is None:
        return _way(target, through=None, because="no variable names one for this endpoint")
    for entry in filter(None, (one.strip() for one in known.get("no", "").split(","))):
        if _exempts(entry, target):
            return _way(target, through=None, because=f"{entry!r} in NO_PROXY exempts this endpoint")
    given = known[variable]
    place = urlsplit(given if "://" in given else f"http://{given}")
    return _way(place, through=place.scheme, because=f"{variable.upper()}_PROXY")


def _exempts(entry: str, target: SplitResult) -> bool:
    if entry == "*":
        return True
    # An address with colons would be taken for a host with a port.
    pattern = urlsplit(entry if "://" in entry else f"all://{f'[{entry}]' if _is_address(entry, 6) else entry}")
    if pattern.scheme not in ("all", target.scheme):
        return False
    if pattern.port is not None and pattern.port != target.port:
        return False
    name, host = (pattern.hostname or "").lower(), target.hostname or ""
    is_exact = "://" in entry or name == "localhost" or _is_address(name, 4) or _is_address(name, 6)
    if is_exact:
        return host == name
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _is_address(text: str, generation: int) -> bool:
    try:
        return ipaddress.ip_address(text.partition("/")[0]).version == generation
    except ValueError:
        return False


def _way(place: SplitResult, *, through: str | None, because: str) -> Way:
    port = place.port or _PORTS.get(place.scheme, 443)
    return Way(host=place.hostname or "", port=port, through=through, because=because)
