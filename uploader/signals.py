"""Every signal that a server or the network can give, and what it means: the only place that decides this.

``docs/answers.md`` is made from these tables, and every row has its test. A row never speaks about a chunk
unless the server did: everything that a network, a proxy, a portal, an expired URL or an overload can say
leads to another try.
"""

from uploader.faults import Fault
from uploader.meanings import Meaning, Row, Step

_ALL = tuple(Step)
_API = (Step.API, Step.PRESIGN, Step.END)
_PUT = (Step.PUT,)
_WAIT = "wait and probe; everything stays in the spool"
_REPEAT = "wait and probe; an upload whose answer was lost is repeated with the same bytes"
_FRESH = "ask for a fresh URL, try again"


def _only(*statuses: int) -> tuple[tuple[int, int], ...]:
    return tuple((one, one) for one in statuses)


def _broken(fault: Fault, says: str, does: str = _WAIT, *, meaning: Meaning = Meaning.OUTAGE) -> Row:
    return Row(steps=_ALL, faults=(fault,), meaning=meaning, says=says, does=does)


def _put(
    status: int, says: str, does: str = _FRESH, *, texts: tuple[str, ...] = (), meaning: Meaning = Meaning.LATER
) -> Row:
    return Row(steps=_PUT, statuses=_only(status), texts=texts, meaning=meaning, says=says, does=does)


BROKEN: tuple[Row, ...] = (
    _broken(
        Fault.DNS,
        "the server's name is not known here",
        f"{_WAIT}. Look at the network's DNS and the endpoint's spelling",
    ),
    _broken(Fault.REFUSED, "nobody listens at the address"),
    _broken(Fault.UNREACHABLE, "no route leads to the server", f"{_WAIT}. Look at the cable and the network"),
    _broken(Fault.CONNECT_TIMEOUT, "connecting takes too long", f"{_WAIT}. A firewall may swallow what is sent"),
    _broken(
        Fault.CERTIFICATE,
        "the certificate is not accepted",
        f"{_WAIT}; nothing is sent. Look at this machine's clock, and for a proxy that opens encrypted traffic",
    ),
    _broken(
        Fault.TLS,
        "no encryption can be agreed on",
        f"{_WAIT}; nothing is sent. A portal or proxy may stand in between",
    ),
    _broken(Fault.PROXY, "the proxy of this network refuses", f"{_WAIT}. Look at HTTPS_PROXY and NO_PROXY"),
    _broken(Fault.CONNECT, "no connection"),
    _broken(Fault.SEND_TIMEOUT, "the request is no longer taken", "give the connection up, wait and probe"),
    _broken(Fault.TIMEOUT, "no answer in time", _REPEAT),
    _broken(Fault.STALLED, "connected, but nothing gets on", f"the watchdog cuts the connection; {_REPEAT}"),
    _broken(Fault.CLOSED, "the connection was closed on us", _REPEAT),
    _broken(Fault.BROKEN, "the connection broke", _REPEAT),
    _broken(Fault.GARBLED, "an answer that is not HTTP", _REPEAT),
    _broken(Fault.OVERSIZE, "an answer far too long to be the server's", _REPEAT),
    _broken(Fault.UNDECODABLE, "an answer that cannot be decoded", _REPEAT),
    _broken(Fault.UNUSABLE, "a URL that cannot be used", "ask for a fresh one, try again", meaning=Meaning.LATER),
)
"""Nothing, or nothing whole, came back."""

STATUSES: tuple[Row, ...] = (
    # Answers that are not the server's own.
    Row(
        steps=_ALL,
        statuses=((200, 299),),
        html=True,
        meaning=Meaning.OUTAGE,
        says="success, but with a page for people (captive portal)",
        does="not an acknowledgement: wait and probe. Log in to the network",
    ),
    Row(
        steps=_ALL,
        statuses=((100, 199),),
        meaning=Meaning.OUTAGE,
        says="an answer that only announces another",
        does="not an acknowledgement: wait and probe",
    ),
    Row(
        steps=_ALL,
        statuses=((300, 399),),
        meaning=Meaning.OUTAGE,
        says="redirected (portal, proxy)",
        does="not followed, so that neither key nor bytes go elsewhere: wait and probe",
    ),
    Row(
        steps=_ALL,
        statuses=_only(407),
        meaning=Meaning.OUTAGE,
        says="the proxy wants a login",
        does="wait and probe. Log in to the proxy",
    ),
    Row(
        steps=_ALL,
        statuses=_only(511),
        meaning=Meaning.OUTAGE,
        says="the network wants a login",
        does="wait and probe. Log in to the network",
    ),
    Row(
        steps=_API,
        statuses=((400, 499),),
        html=True,
        meaning=Meaning.OUTAGE,
        says="refused with a page for people (proxy, portal)",
        does="not the server's own word: wait and probe",
    ),
    # Success.
    Row(steps=_ALL, statuses=((200, 299),), meaning=Meaning.DONE, says="success", does="read it (below), go on"),
    # Overload and trouble inside the server.
    Row(
        steps=_ALL,
        statuses=_only(429),
        meaning=Meaning.OUTAGE,
        says="too many requests",
        does="wait at least as long as Retry-After asks, then probe",
    ),
    Row(
        steps=(Step.END,),
        statuses=_only(503),
        meaning=Meaning.LATER,
        says="the first analysis still runs",
        does="ask again for the end; other streams go on",
    ),
    _put(
        503,
        "the store asks to slow down",
        "wait at least as long as Retry-After asks, then probe with a fresh URL",
        texts=("SlowDown",),
        meaning=Meaning.OUTAGE,
    ),
    Row(
        steps=_ALL,
        statuses=_only(502),
        meaning=Meaning.OUTAGE,
        says="the server behind the gateway is down",
        does="wait and probe",
    ),
    Row(
        steps=_ALL,
        statuses=_only(503),
        meaning=Meaning.OUTAGE,
        says="overloaded or down for maintenance",
        does="wait at least as long as Retry-After asks, then probe",
    ),
    Row(
        steps=_ALL,
        statuses=_only(504),
        meaning=Meaning.OUTAGE,
        says="the gateway got no answer in time",
        does=_REPEAT,
    ),
    _put(507, "the store is full"),
    Row(
        steps=_ALL,
        statuses=_only(500),
        meaning=Meaning.LATER,
        says="an error inside the server",
        does="try again; a PUT with a fresh URL",
    ),
    Row(
        steps=_ALL,
        statuses=_only(501),
        meaning=Meaning.LATER,
        says="the server does not know the request",
        does="tell, try again",
    ),
    Row(
        steps=_ALL,
        statuses=((505, 599),),
        meaning=Meaning.LATER,
        says="some other error inside the server",
        does="tell, try again; a PUT with a fresh URL",
    ),
    Row(
        steps=_ALL, statuses=_only(408), meaning=Meaning.LATER, says="the request took too long", does="try again"
    ),
    Row(steps=_ALL, statuses=_only(425), meaning=Meaning.LATER, says="too early for the server", does="try again"),
    # The key.
    Row(
        steps=_API,
        statuses=_only(401),
        meaning=Meaning.PAUSED,
        says="the API key is not accepted",
        does="pause loudly, keep everything, probe slowly until a key is accepted",
    ),
    Row(
        steps=_API,
        statuses=_only(403),
        meaning=Meaning.PAUSED,
        says="the API key may not do this",
        does="pause loudly, keep everything, probe slowly until a key is accepted",
    ),
    # The presigned URL: of all this only 413 speaks about the chunk.
    _put(400, "the body stalled for about 20 s", texts=("RequestTimeout",)),
    _put(400, "the URL's token has expired", texts=("ExpiredToken", "InvalidToken")),
    _put(
        400,
        "the bytes were damaged on their way",
        "read them again from the spool, try again",
        texts=("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"),
    ),
    _put(400, "the store got too few bytes", texts=("IncompleteBody",)),
    _put(
        400,
        "the shard is too large for the store",
        "park this chunk",
        texts=("EntityTooLarge",),
        meaning=Meaning.REFUSED,
    ),
    _put(400, "the store does not understand the upload"),
    _put(401, "the store wants a login", f"{_FRESH}; the API key is not sent there"),
    _put(403, "the URL has expired", texts=("expired",)),
    _put(403, "the clocks of signer and store differ", texts=("RequestTimeTooSkewed",)),
    _put(
        403,
        "the URL's signature does not fit",
        f"{_FRESH}. A proxy may rewrite requests",
        texts=("SignatureDoesNotMatch",),
    ),
    _put(403, "the store does not let us in"),
    _put(404, "the upload's place does not exist"),
    _put(405, "the store does not take uploads here"),
    _put(409, "another upload to the same place is under way"),
    _put(411, "the length was lost on its way", f"{_FRESH}. A proxy may rewrite requests"),
    _put(412, "a condition was not met"),
    _put(413, "the shard is too large", "park this chunk", meaning=Meaning.REFUSED),
    _put(422, "the upload could not be processed"),
    Row(
        steps=_PUT, statuses=((402, 499),), meaning=Meaning.LATER, says="the upload was not accepted", does=_FRESH
    ),
    # The stream or the chunk.
    Row(
        steps=(Step.PRESIGN,),
        statuses=_only(404, 410),
        meaning=Meaning.ASK,
        says="the stream is not known",
        does="ask the catalogue: wait while paused, hold when ended; no chunk is parked",
    ),
    Row(
        steps=(Step.PRESIGN,),
        statuses=_only(409),
        meaning=Meaning.ASK,
        says="the stream takes no chunk now",
        does="ask the catalogue: wait while paused, hold when ended; no chunk is parked",
    ),
    Row(
        steps=(Step.PRESIGN,),
        statuses=_only(400, 413, 422),
        meaning=Meaning.ASK,
        says="the chunk is refused",
        does="ask the catalogue: wait while paused, hold when ended, park the chunk if the stream is active",
    ),
    Row(
        steps=(Step.END,),
        statuses=_only(400, 404, 409, 410, 422),
        meaning=Meaning.ASK,
        says="the end is refused",
        does="ask the catalogue whether the stream has ended already",
    ),
    Row(
        steps=(Step.API,),
        statuses=((400, 499),),
        meaning=Meaning.REFUSED,
        says="the request is refused",
        does="tell the caller",
    ),
    Row(steps=_ALL, statuses=((0, 999),), meaning=Meaning.LATER, says="anything else", does="tell, try again"),
)
"""An answer came. The first row that fits counts."""

TABLE = BROKEN + STATUSES

NO_URL = Row(
    steps=(Step.PRESIGN,),
    meaning=Meaning.LATER,
    says="success, but without an upload URL that can be used",
    does="ask again; a URL must be http(s), and never in the clear when the API is not",
)
OTHER_PLACE = Row(
    steps=(Step.PRESIGN,),
    meaning=Meaning.LATER,
    says="success, but with the place of another chunk",
    does="ask again: the bytes would land where others belong",
)
NO_ETAG = Row(
    steps=_PUT,
    meaning=Meaning.OUTAGE,
    says="success, but without an ETag: not a store's acknowledgement",
    does="not an acknowledgement: wait and probe",
)
NOT_A_STORE = Row(
    steps=_PUT,
    meaning=Meaning.OUTAGE,
    says="success, but not as a store answers",
    does="not an acknowledgement: wait and probe",
)
OTHER_BYTES = Row(
    steps=_PUT,
    meaning=Meaning.LATER,
    says="success, but its ETag or checksum is that of other bytes",
    does="not an acknowledgement: read the bytes again, try again with a fresh URL",
)
CONFIRMED = Row(
    steps=_PUT,
    meaning=Meaning.DONE,
    says="success, and the ETag is the MD5 of the bytes sent",
    does="acknowledged and confirmed",
)
UNCONFIRMED = Row(
    steps=_PUT,
    meaning=Meaning.DONE,
    says="success of a store that encrypts, with an ETag that is no checksum",
    does="acknowledged, unconfirmed",
)
NOT_AN_END = Row(
    steps=(Step.END,),
    meaning=Meaning.OUTAGE,
    says="success, but not in the server's own words",
    does="not the end: wait and probe",
)

READ = (NO_URL, OTHER_PLACE, NO_ETAG, NOT_A_STORE, OTHER_BYTES, CONFIRMED, UNCONFIRMED, NOT_AN_END)
"""What a success still has to show before it counts as one."""
