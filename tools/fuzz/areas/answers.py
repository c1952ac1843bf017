"""Hostile answers at every step: opening, clock, URL, upload, end, and a chunk's whole way out of a spool."""

import hashlib
import itertools
import logging
import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Self
from unittest import mock
from uuid import UUID

from spool import Chunk, Limits, Spool, Stream, StreamSettings
from spool.testing import some_frames
from tools.fuzz.finding import Finding
from tools.fuzz.network import Network, Piece, Sent
from tools.fuzz.servers import DATA_ID, SIGNATURE, HostileServer
from tools.fuzz.strain import Hangs, strained
from uploader.api import AtomscaleApi
from uploader.clock import measure
from uploader.config import ApiKey
from uploader.delivery import StreamDelivery
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Delivered, Ticket
from uploader.errors import UploaderError
from uploader.gate import Gate
from uploader.lines import Lines
from uploader.opening import open_on_server
from uploader.stamps import Stamp

NAME = "answers"
_KEY = "a-k3y-that-must-not-be-seen"
_API = ("api.example", 443)
_STEPS = ("open", "clock", "prepare", "deliver", "finish", "send")
_BYTES_MAX, _CPU_S_MAX = 400 << 20, 10.0
_REQUESTS_MAX = 12
_WORDS_MAX, _RECEIPT_MAX = 8000, 20_000
_LOGGERS = ("uploader", "spool", "httpx", "httpcore")
_SIGNED = re.compile(rf"\?[A-Za-z][^\s<>?]*{SIGNATURE}")
_DATA_ID = re.compile(r"[0-9A-Za-z_-]{1,128}")


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    with _Bench(folder) as bench:
        for number in range(count) if only is None else (only,):
            chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
            step = chance.choices(_STEPS, (20, 5, 30, 25, 10, 10))[0]
            server = HostileServer(chance, honesty=chance.choice((0.0, 0.3, 0.8)), md5=bench.md5)
            server.data_id = bench.data_id
            why = bench.tried(step, server)
            what = f"{step}: {bench.shown(server)}"
            yield Finding(area=NAME, number=number, what=what, why=why) if why else None


class _Impatient(Gate):
    """Waits for nothing."""

    def wait(self, seconds: float, **_: object) -> bool:  # noqa: ARG002 - the same call
        return not self._stopped.is_set()


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class _Bench:
    """One spool and one destination for all inputs: what they remember between two inputs is nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.network = Network(lambda _: ())
        self._heard = _Heard()
        self._spool = Spool(folder / "spool", limits=Limits(min_free_bytes=0))
        self._settings = StreamSettings(
            name="growth",
            destination="https://api.example",
            fps=2.0,
            rotations_per_min=6.0,
            chunk_size=4,
            physical_sample="GaAs new",
            project_id=DATA_ID,
            tags=("one", "two"),
        )
        self._numbers = itertools.count(1)
        self._stream, self._chunk = self._waiting()
        with closing(self._spool):
            lease = self._spool.lease(self._stream.stream_id, "fuzz", ttl_s=60)
            assert lease is not None
            self._body = lease.read(self._chunk)
        self.md5 = hashlib.md5(self._body, usedforsecurity=False).hexdigest()
        self.data_id = str(self._stream.data_id)
        self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}

    def __enter__(self) -> Self:
        self._patch = mock.patch.object(Lines, "_client", self.network.client)
        self._patch.start()
        self._spool = Spool(self._folder / "spool", limits=Limits(min_free_bytes=0))
        self._api = AtomscaleApi("https://api.example", ApiKey(_KEY))
        self._destination = AtomscaleDestination("https://api.example", ApiKey(_KEY))
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._heard)
            logging.getLogger(name).setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        for name, level in self._levels.items():
            logging.getLogger(name).removeHandler(self._heard)
            logging.getLogger(name).setLevel(level)
        self._destination.close()
        self._api.close()
        self._spool.close()
        self._patch.stop()

    def tried(self, step: str, server: HostileServer) -> str | None:
        """Let framespool go one step with this server; what it did wrong, if anything."""
        self.network.forget()
        self.network.answer = server
        self._heard.lines.clear()
        try:
            with strained() as strain:
                said, acknowledged = getattr(self, f"_{step}")(server)
        except Hangs as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - any that came out is the finding
            return f"raised {type(error).__name__}: {str(error)[:300]}"
        return (
            strain.why(bytes_max=_BYTES_MAX, cpu_s_max=_CPU_S_MAX)
            or self._told(said, most=_RECEIPT_MAX if acknowledged else _WORDS_MAX)
            or self._sent()
            or (self._unproven(server) if acknowledged else None)
        )

    def shown(self, server: HostileServer) -> str:
        """What was asked and answered, short enough to read."""
        pairs = [f"{sent.method} {sent.target[:40]} <- {head[:160]!r}" for sent, head in server.heads]
        return f"{server.url[:120]!r} " + "; ".join(pairs[-3:])

    # The steps: each returns what was said, and whether the chunk counts as acknowledged. ------------------

    def _open(self, _: HostileServer) -> tuple[Sequence[object], bool]:
        try:
            data_id = open_on_server(self._api, self._settings).data_id
        except UploaderError as error:
            return (str(error), error.hint), False
        if not _DATA_ID.fullmatch(data_id):
            raise ValueError(f"took {data_id[:80]!r} for a data_id")
        return (data_id,), False

    def _clock(self, _: HostileServer) -> tuple[Sequence[object], bool]:
        return (measure(self._api),), False

    def _prepare(self, server: HostileServer) -> tuple[Sequence[object], bool]:
        outcome = self._destination.prepare(self._stream, self._chunk, Stamp(start_ms=0))
        if not isinstance(outcome, Ticket):
            return (outcome,), False
        server.url = outcome.url
        found = self._destination.deliver(self._chunk, outcome, self._body)
        return (outcome, found), isinstance(found, Delivered)

    def _deliver(self, server: HostileServer) -> tuple[Sequence[object], bool]:
        server.url = f"https://store.example/k?X-Amz-Signature={SIGNATURE}"
        found = self._destination.deliver(self._chunk, _ticket(server.url), self._body)
        return (found,), isinstance(found, Delivered)

    def _finish(self, _: HostileServer) -> tuple[Sequence[object], bool]:
        return (self._destination.finish(self._stream, bytes),), False

    def _send(self, server: HostileServer) -> tuple[Sequence[object], bool]:
        """A chunk's whole way, with every try that there is time for."""
        stream, _ = self._waiting()
        server.data_id = str(stream.data_id)
        self._spool.seal(stream.stream_id)
        lease = self._spool.lease(stream.stream_id, "fuzz", ttl_s=60)
        assert lease is not None
        stopped = threading.Event()

        def answer(sent: Sent) -> Iterator[Piece]:
            if len(self.network.sent) > _REQUESTS_MAX:
                stopped.set()
            return server(sent)

        self.network.answer = answer
        StreamDelivery(lease, self._destination, _Impatient(stopped), stopped, proof=bytes).drain()
        after = self._spool.stream(stream.stream_id)
        chunk = self._spool.chunk(stream.stream_id, 0)
        events = [event.detail for event in self._spool.events(stream.stream_id)]
        lease.release()
        return (after.held, after.trouble, chunk, *events), after.tally.acknowledged > 0

    def _waiting(self) -> tuple[Stream, Chunk]:
        """A new stream with one chunk that waits, always of the same bytes."""
        stream = self._spool.open_stream(self._settings, data_id=str(UUID(int=next(self._numbers))))
        self._spool.push(stream.stream_id, 0, some_frames(4), capture_start_ms_utc=1_700_000_000_000)
        chunk = self._spool.chunk(stream.stream_id, 0)
        assert chunk is not None
        return stream, chunk

    # The judge. ---------------------------------------------------------------------------------------------

    def _told(self, said: Sequence[object], *, most: int) -> str | None:
        for text in (*map(_words, said), *self._heard.lines):
            # Outside a query no one could know it for a signature.
            if _KEY in text or _SIGNED.search(text):
                return f"a secret is told: {text[:300]!r}"
        for text in map(_words, said):
            if not text.isprintable():
                odd = next(at for at, char in enumerate(text) if not char.isprintable())
                return f"says what a terminal would obey: {text[max(0, odd - 40) : odd + 40]!r}"
            if len(text) > most:
                return f"says {len(text)} characters: {text[:100]!r}"
        return None

    def _sent(self) -> str | None:
        for sent in self.network.sent:
            if _KEY.encode() in sent.raw and sent.place != _API:
                return f"the key went to {sent.place}"
            if sent.method == "PUT" and b"x-api-key" in sent.raw.lower().partition(b"\r\n\r\n")[0]:
                return "an upload carried a key"
            if sent.raw.count(b"\r\nX-Evil"):
                return "a header came in through an answer"
        return None

    def _unproven(self, server: HostileServer) -> str | None:
        """Why an acknowledgement is none: no answer to a PUT had what one needs."""
        for sent, head in server.heads:
            found = head.lower()
            is_success = re.search(rb"^http/1\.[01] 2\d\d", found, re.MULTILINE) is not None
            is_proof = self.md5.encode() in found or b"x-amz-" in found
            if sent.method == "PUT" and is_success and b"etag:" in found and is_proof:
                return None
        return "acknowledged without a store's answer"


def _words(said: object) -> str:
    """All text of an outcome, as it would be shown or stored."""
    if isinstance(said, Ticket):
        return repr(said)
    if isinstance(said, dict):
        return " ".join(map(_words, said.values()))
    fields = getattr(said, "__dataclass_fields__", None)
    if fields is None:
        return str(said)
    return " ".join(_words(getattr(said, name)) for name in fields)


def _ticket(url: str) -> Ticket:
    return Ticket(url=url, got_at_s=0.0, data_id="d-1")
