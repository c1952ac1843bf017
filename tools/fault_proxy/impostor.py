"""A TLS server with a certificate that nobody trusts, made for a name that nobody asked for."""

import ssl
from functools import cache

import trustme

from tools.fault_proxy.wire import Wire

NAME = "impostor.invalid"


@cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert(NAME).configure_cert(context)
    return context


def shake_hands(client: Wire) -> None:
    """Answer a ClientHello that has come; returns when the client has seen enough, or believes it."""
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context().wrap_bio(arriving, leaving, server_side=True)
    while True:
        arriving.write(client.available())
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            client.send(leaving.read())
            if not client.peek():
                return
        except ssl.SSLError:
            return  # the client's alert: it has looked at the certificate
        else:
            return
