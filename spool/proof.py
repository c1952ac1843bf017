"""A proof that travels: one stream's part of the ledger, in a file that is checked without the spool.

The file is one JSON object, canonical (sorted keys, no spaces, ASCII), so that each of its bytes counts::

    format      "framespool-proof"
    version     1
    made_at     when, UTC by the host clock of who made it
    made_by     which program
    stream_id   of what
    ledger      first_seq, previous (the digest that its first row commits to), head_seq, head (the digest of its
                last row), rows
    audit       as 'framespool audit --json' shows it, computed from those rows
    sha256      over the canonical JSON of all above
    signature   null, or algorithm "Ed25519", public_key and signature (over "framespool-proof/1",
                a line feed, and sha256 in hex)

``rows`` goes from the stream's first row to its last, each as its digest and then its content. Of the stream, or
of the whole spool, that is the JSON array that the digest covers. Of another stream it is only its stream_id and
the SHA-256 of that array: the rest is nobody's business, but the chain goes through it, and whose row it is cannot
be hidden (see `spool.ledger.sealed_digest`).

What it proves: that nothing of this was changed, dropped, swapped or inserted since the ledger had that head, and
that the audit is what these rows amount to. That the ledger itself was kept honestly is vouched for by whoever
signs, and shown by the receipts: the server's request ids and dates, and the bytes it has.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spool import ledger, shards
from spool.audit import StreamAudit, audit_of
from spool.errors import ProofBroken, SpoolDamaged
from spool.model import STREAM_ID, Chunk, ClockReading, Event
from spool.plausible import is_chunk, is_part, is_reading, is_settings, is_whole
from spool.replay import Replay
from spool.signing import SigningKey, signature_holds
from spool.spool import Spool

FORMAT, VERSION = "framespool-proof", 1
_SIGNED = b"framespool-proof/1\n"
_ROW_LENGTH = 6
_LATER = "Check it with a later framespool."


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a proof tells, once all of it was checked.

    Attributes:
        audit: of the stream, from its rows of the ledger alone.
        made_at: as the file says.
        made_by: as the file says.
        rows: how many rows of the ledger it goes through.
        head_seq: the last of them; ``head`` is its digest in hex.
        signed_by: the public key of a signature that holds; ``None`` when it is not signed.
        events: the stream's own rows.
    """

    audit: StreamAudit
    made_at: str
    made_by: str
    rows: int
    head_seq: int
    head: str
    signed_by: str | None
    events: tuple[Event, ...]

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """Every chunk, by chunk_idx."""
        return tuple(one.chunk for one in self.audit.chunks)

    def why_discarded(self, chunk_idx: int) -> dict[str, Any] | None:
        """What the ledger says about the discarding of a chunk: who, and why."""
        told = (one.detail for one in self.events if one.event == "discarded" and one.chunk_idx == chunk_idx)
        return next(told, None)

    @property
    def clock_readings(self) -> tuple[ClockReading, ...]:
        """Every measurement of the reference clock, oldest first."""
        return tuple(ClockReading(**one.detail) for one in self.events if one.event == "clock_measured")

    def check_chunk(self, chunk_idx: int, content: bytes) -> None:
        """Hold the bytes of one chunk, as received elsewhere or as spooled, against the proof.

        Raises:
            ProofBroken: the proof does not know the chunk.
            ShardDamaged: they are others; it says which part differs.
        """
        found = next((one.chunk for one in self.audit.chunks if one.chunk.chunk_idx == chunk_idx), None)
        if found is None:
            raise ProofBroken(f"the proof does not know a chunk {chunk_idx}")
        shards.check_received(content, found, chunk_size=self.audit.stream.settings.chunk_size)


def make_proof(spool: Spool, ref: str, *, made_by: str, key: SigningKey | None = None) -> bytes:
    """The proof of a stream as it is now.

    Args:
        spool: an open spool.
        ref: the stream's stream_id or data_id.
        made_by: the program, for people.
        key: signs it.

    Raises:
        UnknownStream: there is no such stream.
        SpoolDamaged: the ledger itself does not hold.
    """
    stream = spool.stream(ref)
    own = list(spool.events(stream.stream_id))
    events = list(_between(spool, own[0].seq, own[-1].seq)) if own else []
    if not events:
        raise SpoolDamaged(f"the ledger does not tell of {stream.stream_id}", hint="Run 'framespool verify'.")
    said: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "made_by": made_by,
        "stream_id": stream.stream_id,
        "ledger": {
            "first_seq": events[0].seq,
            "previous": events[0].previous.hex(),
            "head_seq": events[-1].seq,
            "head": events[-1].digest.hex(),
            "rows": [_row(event, stream.stream_id) for event in events],
        },
        "audit": _told(own, stream.stream_id).to_json(),
    }
    said["sha256"] = hashlib.sha256(_canonical(said)).hexdigest()
    said["signature"] = None
    if key is not None:
        signature = key.sign(_SIGNED + said["sha256"].encode())
        said["signature"] = {"algorithm": "Ed25519", "public_key": key.public_key, "signature": signature}
    return _canonical(said) + b"\n"


def read_proof(content: bytes) -> Proof:
    """Check a proof: the chain, what it amounts to, its digest and its signature.

    Raises:
        ProofBroken: it does not hold; it says where.
        SpoolError: it is signed, and the library for that is missing.
    """
    said = _parsed(content)
    try:
        return _checked(said, content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ProofBroken(f"it is not as a proof is written ({type(error).__name__}: {error})") from None


def _between(spool: Spool, first: int, last: int) -> Iterator[Event]:
    """The ledger's rows in this span, seen to hold."""
    before: Event | None = None
    for event in spool.events(after_seq=first - 1):
        is_next = before is None or (event.seq == before.seq + 1 and event.previous == before.digest)
        if not is_next or event.digest != ledger.digest_of(event):
            raise SpoolDamaged(f"the ledger does not hold at row {event.seq}", hint="Run 'framespool verify'.")
        yield event
        before = event
        if event.seq == last:
            return


def _row(event: Event, stream_id: str) -> list[Any]:
    text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
    row = [event.seq, event.at_ms, event.stream_id, event.chunk_idx, event.event, text]
    if event.stream_id in (stream_id, None):
        return [event.digest.hex(), row]
    row_sha256 = hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).hexdigest()
    return [event.digest.hex(), event.stream_id, row_sha256]


def _told(own: list[Event], stream_id: str) -> StreamAudit:
    """The audit that a stream's rows amount to.

    Raises:
        ProofBroken: they make no sense.
    """
    told = Replay()
    for event in own:
        told.take(event)
    stream = told.streams.get(stream_id)
    if stream is None or told.faults:
        raise ProofBroken(told.faults[0] if told.faults else "its rows do not tell how the stream began")
    chunks = [chunk.as_chunk(stream_id, idx) for idx, chunk in sorted(stream.chunks.items())]
    begun = stream.as_stream(stream_id)
    for what, is_plausible in (
        *((f"chunk {chunk.chunk_idx}", is_chunk(chunk)) for chunk in chunks),
        *((f"part {part.number}", is_part(part)) for part in begun.parts),
        ("the clock", all(map(is_reading, stream.readings))),
        ("the stream's settings", is_settings(begun.settings)),
    ):
        if not is_plausible:
            raise ProofBroken(f"what its ledger tells of {what} is nothing that could be")
    return audit_of(begun, chunks, own)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProofBroken(f"it is no JSON: {error}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ProofBroken("it is no proof of framespool's")
    version = said.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ProofBroken(f"it has version {version}; this framespool checks up to {VERSION}", hint=_LATER)
    return said


def _checked(said: dict[str, Any], content: bytes) -> Proof:
    told = said["ledger"]
    stream_id = said["stream_id"]
    own = _followed(told, stream_id)
    audit = _told(own, stream_id)
    if (where := _difference(said["audit"], audit.to_json())) is not None:
        raise ProofBroken(f"its audit is not what its ledger amounts to: {where}")
    signed = {name: value for name, value in said.items() if name not in ("sha256", "signature")}
    if said["sha256"] != hashlib.sha256(_canonical(signed)).hexdigest():
        raise ProofBroken("ledger and audit hold, but something beside them was changed: its sha256 is another")
    signed_by = _signed_by(said["signature"], said["sha256"])
    if content != _canonical(said) + b"\n":
        raise ProofBroken("it says the right thing, but not byte for byte as it was written")
    return Proof(
        audit=audit,
        made_at=str(said["made_at"]),
        made_by=str(said["made_by"]),
        rows=len(told["rows"]),
        head_seq=told["head_seq"],
        head=told["head"],
        signed_by=signed_by,
        events=tuple(own),
    )


def _followed(told: dict[str, Any], stream_id: str) -> list[Event]:
    """The stream's own rows, the chain seen to hold from the first row to the head."""
    own: list[Event] = []
    digest = bytes.fromhex(told["previous"])
    seq = told["first_seq"] - 1
    for said, *content in told["rows"]:
        seq += 1
        event = _event(content[0], seq, stream_id, digest) if len(content) == 1 else None
        if event is not None:
            digest = event.digest
        else:
            whose, row_sha256 = content
            if whose in (stream_id, None):
                raise ProofBroken(f"ledger row {seq} is of the stream itself, and is withheld")
            digest = ledger.chained(digest, ledger.sealed_digest(whose, row_sha256))
        if digest.hex() != said:
            raise ProofBroken(
                f"ledger row {seq} is not what its digest says: it was changed, or the one before it"
            )
        if event is not None and event.stream_id is not None:
            own.append(event)
    if (seq, digest.hex()) != (told["head_seq"], told["head"]):
        raise ProofBroken(f"its ledger ends with row {seq}, and its head is another: rows were dropped or added")
    return own


def _event(row: list[Any], expected: int, stream_id: str, previous: bytes) -> Event:
    seq, at_ms, whose, chunk_idx, event, text = row
    # What comes from outside becomes names of files and rows of an index, if it is unpacked.
    is_typed = (
        is_whole(seq)
        and is_whole(at_ms)
        and (chunk_idx is None or (is_whole(chunk_idx) and chunk_idx >= 0))
        and (whose is None or STREAM_ID.fullmatch(whose))
        and isinstance(event, str)
    )
    if not is_typed:
        raise ProofBroken(f"ledger row {expected} is not as a ledger writes it")
    if seq != expected:
        raise ProofBroken(f"ledger row {expected} is missing: number {seq} stands in its place")
    if whose not in (stream_id, None):
        raise ProofBroken(f"ledger row {seq} is of {whose}, and is none of this proof's business")
    digest = ledger.row_digest(previous, seq, at_ms, whose, chunk_idx, event, text)
    detail = json.loads(text)
    if not isinstance(detail, dict):
        raise ProofBroken(f"ledger row {seq} is not as a ledger writes it")
    return Event(
        seq=seq,
        at_ms=at_ms,
        stream_id=whose,
        chunk_idx=chunk_idx,
        event=event,
        detail=detail,
        previous=previous,
        digest=digest,
    )


def _signed_by(signature: dict[str, Any] | None, sha256: str) -> str | None:
    if signature is None:
        return None
    if signature["algorithm"] != "Ed25519":
        raise ProofBroken(
            f"it is signed with {signature['algorithm']}, which this framespool does not know", hint=_LATER
        )
    public_key = str(signature["public_key"])
    if not signature_holds(public_key, signature["signature"], _SIGNED + sha256.encode()):
        raise ProofBroken("its signature does not hold")
    return public_key


def _difference(said: Any, told: Any, where: str = "audit") -> str | None:  # noqa: ANN401 - JSON values
    """The first place where two JSON values differ."""
    if isinstance(said, dict) and isinstance(told, dict) and said.keys() <= told.keys():
        # A fact that came later is in no earlier proof; there is none of it then.
        said = dict.fromkeys(told) | said
        return next((found for k in told if (found := _difference(said[k], told[k], f"{where}.{k}"))), None)
    if isinstance(said, list) and isinstance(told, list) and len(said) == len(told):
        pairs = enumerate(zip(said, told, strict=True))
        return next((found for k, (one, two) in pairs if (found := _difference(one, two, f"{where}[{k}]"))), None)
    return None if said == told and type(said) is type(told) else where


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
