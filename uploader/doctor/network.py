"""The way to the server, as far as it has nothing to do with what the server says: proxy, name, connection."""

import ipaddress
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import getproxies_environment

import httpx

from uploader.api import CONNECT_TIMEOUT_S
from uploader.doctor.findings import Finding, Number, Subject, ok, problem, warning
from uploader.doctor.ways import Way, way_to
from uploader.faults import Fault
from uploader.meanings import Answer, Row, Step
from uploader.signals import TABLE

_ADDRESSES_MAX = 8
_KEPT = "What is recorded stays in the spool, and is delivered as soon as the server answers."


def proxy(subject: Subject) -> Finding:
    """Which proxy the endpoint is reached through, and why; credentials are not shown."""
    try:
        way = way_to(subject.endpoint)
        if not way.host:
            raise ValueError("a proxy without a host")
        # Made ready as for delivery: every proxy that is named must be one, whether or not it is used here.
        httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)).close()
    except ImportError:
        advice = "Run 'pip install httpx[socks]', or give the proxy as http://HOST:PORT."
        return problem("a SOCKS proxy is named, for which a package is missing", advice)
    except (ValueError, httpx.InvalidURL):  # its words may repeat the proxy's password
        advice = "Give them as http://HOST:PORT, and NO_PROXY as names with commas in between."
        return problem("what HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY name cannot be used", advice)
    if way.through is None:
        return ok(f"none: {way.because}")
    source = "the environment" if getproxies_environment() else "the system's settings"
    return ok(f"{way.shown}, from {way.because} in {source}")


def dns(subject: Subject) -> Finding:
    """Which addresses the name of the server, or of the proxy in front of it, stands for."""
    way = way_to(subject.endpoint)
    if _is_address(way.host):
        return ok(f"not needed: {way.host} is an address")
    began = time.perf_counter()
    try:
        found = _addresses(way)
    except (socket.gaierror, UnicodeError) as error:
        row = row_of(Fault.DNS)
        return problem(
            f"{way.host} is not known here ({error})", advice_of(row), dns_s=time.perf_counter() - began
        )
    took_s = time.perf_counter() - began
    v4 = sum(family is socket.AF_INET for family, _ in found)
    numbers: dict[str, Number] = {"dns_s": took_s, "ipv4": v4, "ipv6": len(found) - v4}
    listed = ", ".join(address for _, address in found[:_ADDRESSES_MAX])
    return ok(f"{way.host} is {listed} ({took_s * 1e3:.0f} ms)", **numbers)


def connection(subject: Subject) -> Finding:
    """Connect to each of the addresses, all at once, as old and new Internet addresses may fail by themselves."""
    way = way_to(subject.endpoint)
    found = _addresses(way)[:_ADDRESSES_MAX]
    with ThreadPoolExecutor(len(found)) as pool:
        tried = list(pool.map(lambda one: _connect(one[1], way.port), found))
    told = [f"{address} {_words(outcome)}" for (_, address), outcome in zip(found, tried, strict=True)]
    seen = f"port {way.port} of {'the proxy' if way.through else 'the server'}: {', '.join(told)}"
    times = [outcome for outcome in tried if isinstance(outcome, float)]
    if not times:
        what = "HTTPS_PROXY and NO_PROXY" if way.through else "the endpoint's host and port"
        advice = f"Look at {what}, the cable and the firewall. {_KEPT}"
        return problem(seen, advice, connected=0, addresses=len(found))
    numbers: dict[str, Number] = {"connected": len(times), "addresses": len(found), "connect_s": min(times)}
    if tried[0] is Fault.CONNECT_TIMEOUT:
        advice = (
            f"Each new connection first waits {CONNECT_TIMEOUT_S:g} s for the first of these:"
            " tell those who run the network."
        )
        return warning(seen, advice, **numbers)
    return ok(seen, **numbers)


def row_of(fault: Fault) -> Row:
    """The row that speaks about a fault."""
    return next(row for row in TABLE if row.fits(Step.API, Answer(fault=fault)))


def advice_of(row: Row) -> str:
    """A person's part of what is done about a signal: what the row says besides the worker's part."""
    persons = row.does.partition(". ")[2]
    return f"{persons}. {_KEPT}" if persons else _KEPT


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _addresses(way: Way) -> list[tuple[socket.AddressFamily, str]]:
    """In the order in which they are tried."""
    found = socket.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _connect(address: str, port: int) -> float | Fault:
    """Seconds, or why not."""
    began = time.perf_counter()
    try:
        socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        return Fault.CONNECT_TIMEOUT
    except ConnectionRefusedError:
        return Fault.REFUSED
    except OSError:
        return Fault.UNREACHABLE
    return time.perf_counter() - began


def _words(outcome: float | Fault) -> str:
    return f"no: {row_of(outcome).says}" if isinstance(outcome, Fault) else f"in {outcome * 1e3:.3g} ms"
