"""A hostile server: it knows the protocol, and keeps to some of it."""

import gzip
import hashlib
import json
import random
import zlib
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote

import httpcore

from tools.fuzz.hostile import as_json, damaged, damaged_text, mutated, odds
from tools.fuzz.network import Piece, Sent

SIGNATURE = "5ec2e75ec2e75ec2e7"
DATA_ID = "3f6c2a10-0000-4000-8000-00000000d0d0"
_ID = "7b1d0c52-1111-4111-8111-0000000000aa"
_BREAKS = (httpcore.ReadError("reset"), httpcore.ReadTimeout("slow"), httpcore.RemoteProtocolError("odd"))
_INTERIM = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nETag: x\r\n\r\n" * 9)
_HUGE_BYTES = 100_000_000
_SIGNED = f"?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={SIGNATURE}"
_URLS = (
    "http://store.example/b/k{s}", "https://169.254.169.254/latest/meta-data/iam{s}",
    "http://169.254.169.254/{s}", "https://user:pass@store.example/k{s}",
    "https://store.example@evil.example/k{s}", "https://xn--e1afmkfd.example/{s}",
    "https://\u0430\u0440i.example/k{s}", "https://store.example:0/k{s}", "https://store.example:65536/k{s}",
    "https://store.example:99999999999/k{s}", "https:///k{s}", "https://{s}", "https://:443/k{s}",
    "https://[::1/k{s}", "https://[::ffff:7f00:1]/k{s}", "https://127.1/k{s}", "https://0x7f000001/k{s}",
    "https://localhost/k{s}", "file:///etc/passwd{s}", "ftp://store.example/k{s}", "javascript:alert(1){s}",
    "data:text/plain,x{s}", "unix:///run/docker.sock{s}", "//store.example/k{s}", "/k{s}", "../..{s}",
    "HTTPS://STORE.EXAMPLE/k{s}", "https://store.example/frames.zarr/frames/c/1/0/0{s}",
    "https://store.example/../../k{s}", "https://store.example/%00{s}", "https://store.example/k\r\nX-Evil: 1{s}",
    "https://store.example/k{s}#frag", "https://store.example/k{s}&q='\"<>`|^{{}}", "https://store.example/'{s}",
    "https://store.example/k?a='b&c=\"d" + _SIGNED.replace("?", "&"), "https://a..b/k{s}",
    "https://" + "a" * 64 + ".example/k{s}", "https://" + "a." * 200 + "example/k{s}",
    "https://store.example/{long}{s}", "https://store.example/" + "x" * 60_000 + "{s}",
    "https://-store.example/k{s}", "https://store_.example/k{s}", "https:store.example/k{s}",
    "https:/\\store.example/k{s}", "https://store.example\\@evil.example/k{s}",
    "https://store.example:443:443/k{s}", "https://%65vil.example/k{s}", "https://store.example/k;p{s}", "x{s}",
    "https://store.example/\x7f{s}", "https://store.example/k ?{s}", "https://1.2.3.4.5/k{s}", "https://*/k{s}",
)  # fmt: skip
_STATUSES = (
    100, 101, 102, 103, 199, 200, 201, 202, 204, 205, 206, 207, 226, 299, 300, 301, 302, 303, 304, 307, 308, 399,
    400, 401, 402, 403, 404, 405, 407, 408, 409, 410, 411, 412, 413, 415, 418, 422, 425, 429, 431, 451, 499, 500,
    501, 502, 503, 504, 507, 511, 520, 599, 600, 777, 999,
)  # fmt: skip
_HEADERS = (
    b"Retry-After", b"Date", b"ETag", b"Content-Type", b"Location", b"Set-Cookie", b"Content-Encoding",
    b"Transfer-Encoding", b"Content-Length", b"Connection", b"Upgrade", b"Refresh", b"x-amz-request-id",
    b"x-amz-id-2", b"x-amz-checksum-sha256", b"x-amz-checksum-crc32", b"x-amz-checksum-",
    b"x-amz-server-side-encryption", b"WWW-Authenticate", b"X\x1b[31m", b"Via",
)  # fmt: skip
_WORTHS = (
    b"", b"0", b"-1", b"1e999", b"9" * 400, b"9" * 30_000, b"Sun, 99 Foo 99999 99:99:99 +9999",
    b"Wed, 21 Oct 9999 07:28:00 GMT", b"Wed, 21 Oct 2015 07:28:00 -0000", b",", b", , , ,", b"1 Jan",
    b"Mon, 1 Jan 2026 1:1", b"0 0 0 0 0", b"1 jan 00 :: +", b'W/""', b'"', b'W/"x"', b"gzip", b"gzip, gzip, gzip",
    b"br", b"identity", b"deflate", b"chunked", b"gzip, chunked", b"chunked, chunked", b"close", b"text/html",
    b"application/json; charset=utf-7", b"AES256", b"aws:kms", b"\x1b[31mred", b"\x9b31m", b"\xff\xfe",
    b"\xe2\x80\xae", b"a\tb", b"a\0b", b"http://evil.example/", b"file:///etc/passwd", b"x" * 2000, b"x" * 70_000,
    b"=" * 99, b"/" * 44, b"A" * 43 + b"=", b"''", b"100-continue", b"h2c", b"=HYPERLINK(1)", b"0" * 32,
)  # fmt: skip


class HostileServer:
    """Answers one input's requests.

    Attributes:
        url: what uploads are sent to; the last one that was handed out.
        data_id: the stream that the catalogue knows.
        heads: the beginning of each answer, by the request.
    """

    def __init__(self, chance: random.Random, *, honesty: float, md5: str = "") -> None:
        self._chance = chance
        self._honesty = honesty
        self._md5 = md5
        self.url = ""
        self.data_id = DATA_ID
        self.heads: list[tuple[Sent, bytes]] = []

    def __call__(self, sent: Sent) -> Iterator[Piece]:
        """Answer a request, piece by piece."""
        chance = self._chance
        good, headers = self._good(sent)
        if chance.random() < self._honesty:
            yield self._kept(sent, _head(b"200 OK", headers, len(good)) + good)
            return
        match chance.randrange(24):
            case 0:
                yield chance.choice(_BREAKS)
            case 1 if odds(chance, 0.2):  # it takes a while
                yield self._kept(sent, _head(b"200 OK", headers, _HUGE_BYTES) + b"[")
                for _ in range(_HUGE_BYTES >> 16):
                    yield b" [0]," * 13107
            case 2:
                encoding, body = chance.choice(bombs())
                lines = [*headers, (b"Content-Encoding", encoding)]
                yield self._kept(sent, _head(self._status(), lines, len(body)))
                for at in range(0, len(body), 1 << 16):
                    yield body[at : at + (1 << 16)]
            case _:
                raw = self._kept(sent, self._answer(good, headers))
                size = chance.choice((1 << 16, 1 << 16, 1000, 7))
                yield from (raw[at : at + size] for at in range(0, min(len(raw), 7 << 16), size))

    def _kept(self, sent: Sent, head: bytes) -> bytes:
        self.heads.append((sent, head[: 1 << 18]))
        return head

    def _answer(self, good: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        chance = self._chance
        body = good
        if odds(chance, 0.6):  # a body that is not the right one
            body = as_json(chance, mutated(chance, json.loads(good or b'""')))
        for _ in range(chance.choice((0, 0, 1, 2, 5))):
            headers.append((chance.choice(_HEADERS), chance.choice(_WORTHS)))
            if odds(chance, 0.2):  # the same again
                headers.append((headers[-1][0], chance.choice(_WORTHS)))
        if odds(chance, 0.2):  # without what was right
            chance.shuffle(headers)
            del headers[chance.randrange(len(headers) + 1) :]
        length: int | None = len(body)
        if odds(chance, 0.1):  # a length that is not so
            length = chance.choice((None, 0, len(body) - 1, len(body) + 1, 10**12, -1, 10**30))
        raw = _head(self._status(), headers, length) + body
        if odds(chance, 0.1):  # one that only announces another
            raw = chance.choice(_INTERIM) + raw
        return damaged(chance, raw) if odds(chance, 0.15) else raw  # broken on its way

    def _status(self) -> bytes:
        chance = self._chance
        status = 200 if odds(chance, 0.5) else chance.choice(_STATUSES)  # half of them well
        reason = chance.choice((b"OK", b"", b"\x1b[31mNo", b"x" * 5000, b"\xff\x9b"))
        return str(status).encode() + b" " + reason

    def _good(self, sent: Sent) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        headers = [(b"Content-Type", b"application/json"), (b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT")]
        if sent.method == "PUT":
            return b"", [(b"ETag", f'"{self._md5}"'.encode()), (b"x-amz-request-id", b"R1"), headers[1]]
        path = sent.target.partition("?")[0]
        if path.endswith("/upload_urls/"):
            self.url = self._upload_url()
            return json.dumps([{"upload_id": "u", "url": self.url, "part": 1}]).encode(), headers
        return json.dumps(self._known(sent.method, path)).encode(), headers

    def _known(self, method: str, path: str) -> object:
        if path == "/rheed/stream/":
            return DATA_ID
        if path == "/gateway/time":
            return {"receivedAtUnixMs": 1.7e12, "transmittedAtUnixMs": 1.7e12}
        if path == "/data_entries/":
            states = ("stream_active", "stream_paused", "stream_finalizing", "stream_error", "success", "odd")
            return [{"data_id": self.data_id, "pipeline_status": self._chance.choice(states)}]
        if path in ("/physical_samples/", "/tags/"):
            created = {"physical_sample_id": _ID, "id": _ID}
            return [{"id": _ID, "name": "GaAs"}] if method == "GET" else created
        return {"ok": True}

    def _upload_url(self) -> str:
        chance = self._chance
        good = f"https://store.example/bucket/{quote('frames.zarr/frames/c/0/0/0')}{_SIGNED}"
        if chance.random() < self._honesty:
            return good
        if odds(chance, 0.3):  # nearly right
            return damaged_text(chance, good)
        long = "y" * chance.choice((10, 70_000, 4 << 20))
        return chance.choice(_URLS).replace("{s}", _SIGNED).replace("{long}", long)


def _head(status: bytes, headers: list[tuple[bytes, bytes]], length: int | None) -> bytes:
    lines = [b"HTTP/1.1 " + status, *(name + b": " + worth for name, worth in headers)]
    if length is not None:
        lines.append(b"Content-Length: " + str(length).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


@cache
def bombs() -> tuple[tuple[bytes, bytes], ...]:
    """Small bodies that become large: an encoding, and the bytes."""
    many, size = b"\0" * (1 << 20), 300
    packed = {}
    for name, wbits in ((b"gzip", 31), (b"deflate", 15)):
        packing = zlib.compressobj(9, zlib.DEFLATED, wbits)
        packed[name] = b"".join(packing.compress(many) for _ in range(size)) + packing.flush()
    once = packed[b"gzip"]
    return (
        (b"gzip", once),
        (b"deflate", packed[b"deflate"]),
        (b"gzip, gzip", gzip.compress(once)),
        (b"gzip, gzip, gzip", gzip.compress(gzip.compress(once))),
        (b"gzip", once[: len(once) // 2]),
        (b"gzip", gzip.compress(b'{"ok": true}') * 3),
        (b"gzip", gzip.compress(b'{"ok": true}')[:-4]),
        (b"x-gzip, deflate", hashlib.sha256(once).digest()),
    )
