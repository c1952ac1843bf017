"""The way out of this network, as the environment names it: proxies, and whose certificates count.

::

    HTTPS_PROXY  HTTP_PROXY  ALL_PROXY  NO_PROXY    in capitals or not; on Windows and macOS the system's own
                                                    settings, where none of them is set
    SSL_CERT_FILE  SSL_CERT_DIR                     instead of the authorities that come along
    REQUESTS_CA_BUNDLE, then CURL_CA_BUNDLE         the same, where neither of those is set

httpx would read most of this by itself, but not the last two, nor what the system's settings leave out; it would
send what is for this very machine to the proxy, and would say of a value that is of no use only that something
failed, at the first request. The server's certificate and that of an https proxy are held against the same
authorities. A proxy's URL may hold a password: no error here repeats one.
"""

import base64
import importlib.util
import ipaddress
import os
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import httpx

from uploader.errors import ConfigurationError

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_PROXY_HINT = "Set it to a URL such as http://proxy.example:3128, or unset it."
_CERTIFICATES_HINT = "Let it name a file of certificates in PEM form, or unset it."
_ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class WayOut:
    """What the environment says at this moment, checked.

    Attributes:
        secrets: what must appear nowhere: the passwords of proxies, in each form in which they are sent.

    Raises:
        ConfigurationError: a variable names a proxy or certificates that cannot be used.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        # Made once: reading the certificates takes longer than most exchanges.
        self._tls = _tls(environ)
        named = {scheme: url for scheme, url in urllib.request.getproxies().items() if url}
        self._proxies = {
            scheme: _proxy(f"{name}_PROXY".upper(), named[name], self._tls)
            for scheme in ("http", "https")
            if (name := scheme if scheme in named else "all") in named
        }
        self.secrets = tuple(secret for proxy in self._proxies.values() for secret in _secrets(proxy))

    def transport(self) -> httpx.BaseTransport:
        """One connection for each way that is taken."""
        return _Ways(self)

    def proxy_to(self, url: httpx.URL) -> httpx.Proxy | None:
        """The proxy on the way to a URL; ``None`` for no proxy."""
        if _is_here(url.host) or urllib.request.proxy_bypass(_host_and_port(url)):
            return None
        return self._proxies.get(url.scheme)

    def transport_through(self, proxy: httpx.Proxy | None) -> httpx.HTTPTransport:
        """A connection through a proxy, or without one."""
        return httpx.HTTPTransport(verify=self._tls, proxy=proxy, limits=_ONE_CONNECTION)


class _Ways(httpx.BaseTransport):
    """Sends each request on its way; used by one thread at a time."""

    def __init__(self, way_out: WayOut) -> None:
        self._way_out = way_out
        self._transports: dict[httpx.Proxy | None, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        proxy = self._way_out.proxy_to(request.url)
        if proxy not in self._transports:
            self._transports[proxy] = self._way_out.transport_through(proxy)
        return self._transports[proxy].handle_request(request)

    def close(self) -> None:
        """See httpx."""
        for transport in self._transports.values():
            transport.close()


def for_another_folder(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that starts in another folder: the paths of certificates made absolute."""
    return {
        name: os.pathsep.join(str(Path(one).absolute()) for one in worth.split(os.pathsep))
        if name in CERTIFICATE_VARIABLES and worth
        else worth
        for name, worth in environ.items()
    }


def _tls(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What certificates are held against."""
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    bundle = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
    if bundle and not (file or folder):
        file, folder = (None, bundle) if Path(bundle).is_dir() else (bundle, None)
    if not (file or folder):
        return httpx.create_ssl_context(trust_env=False)
    if folder and not any(Path(one).is_dir() for one in folder.split(os.pathsep)):
        raise ConfigurationError(f"SSL_CERT_DIR names {folder!r}, which is no folder", hint=_CERTIFICATES_HINT)
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:
        variable = next(name for name in CERTIFICATE_VARIABLES if environ.get(name) == file)
        raise ConfigurationError(
            f"{variable} names {file!r}, which holds no certificates that can be read: {error}",
            hint=_CERTIFICATES_HINT,
        ) from error


def _is_here(host: str) -> bool:
    """Whether a host is this machine, which no proxy can reach for us."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_and_port(url: httpx.URL) -> str:
    return url.host if url.port is None else f"{url.host}:{url.port}"


def _proxy(variable: str, text: str, tls: ssl.SSLContext) -> httpx.Proxy:
    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")
        is_usable = url.scheme in ("http", "https", "socks5", "socks5h") and bool(url.host)
    except httpx.InvalidURL:
        is_usable = False
    if not is_usable:
        # From nothing, and not quoted: what stands there may be a password.
        raise ConfigurationError(f"{variable} is not the URL of a proxy", hint=_PROXY_HINT) from None
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError(
            f"{variable} names a SOCKS proxy, and the package for those is not installed",
            hint="Install it with: pip install 'httpx[socks]'",
        )
    return httpx.Proxy(url, ssl_context=tls if url.scheme == "https" else None)


def _secrets(proxy: httpx.Proxy) -> tuple[str, ...]:
    if proxy.auth is None:
        return ()
    name, password = proxy.auth
    return password, base64.b64encode(f"{name}:{password}".encode()).decode()
