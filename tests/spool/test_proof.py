"""A proof of one stream holds on its own, and whatever is changed in it is noticed and named."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spool import (
    ChunkState,
    ProofBroken,
    Receipt,
    ShardDamaged,
    SigningKey,
    Spool,
    SpoolError,
    Stream,
    audit,
    make_key,
    make_proof,
    read_proof,
)
from spool.testing import some_frames, some_settings

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1_700_000_000_001, url_path="/c/0")
FORBIDDEN = "none of anybody's business"


def live(spool: Spool, stream: Stream) -> None:
    """Chunks in every state, and another stream at the same time."""
    other = spool.open_stream(some_settings(name=FORBIDDEN)).stream_id
    for idx in range(5):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        spool.push(other, idx, some_frames(seed=9 + idx))
    spool.record("worker_started", worker="w")
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in (0, 1):
        chunk = spool.chunk(stream.stream_id, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.attempt_failed(chunk, {"words": "reset", "mismatch": True})
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, RECEIPT)
    chunk = spool.chunk(stream.stream_id, 2)
    assert chunk is not None
    lease.park(chunk, "refused")
    lease.release()
    spool.discard(stream.stream_id, [3], why="no use")
    spool.push(other, 5, some_frames())


@pytest.fixture
def made(spool: Spool, stream: Stream) -> bytes:
    live(spool, stream)
    return make_proof(spool, stream.stream_id, made_by="a test")


def changed(made: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A proof that was edited, and given the sha256 that belongs to it."""
    said = json.loads(made)
    change(said)
    signed = {name: value for name, value in said.items() if name not in ("sha256", "signature")}
    said["sha256"] = hashlib.sha256(json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_it_tells_the_audit_of_its_stream_and_nothing_of_others(spool: Spool, stream: Stream, made: bytes) -> None:
    proof = read_proof(made)
    assert proof.audit.to_json() == audit(spool, stream.stream_id).to_json()
    assert proof.signed_by is None
    assert FORBIDDEN.encode() not in made
    head = next(event for event in spool.events() if event.seq == proof.head_seq)
    assert head.digest.hex() == proof.head
    assert head.stream_id == stream.stream_id, "it ends with the stream's last row"


def test_any_byte_that_is_flipped_is_noticed(made: bytes) -> None:
    bits = random.Random(7)
    for at in (*range(0, len(made), 17), len(made) - 1, len(made) - 2):
        flipped = bytearray(made)
        flipped[at] ^= 1 << bits.randrange(8)
        with pytest.raises(ProofBroken):
            read_proof(bytes(flipped))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'{"format":"framespool-proof"}', b"\xff", b"[" * 10**5]
)
def test_what_is_no_proof_is_named(content: bytes) -> None:
    with pytest.raises(ProofBroken):
        read_proof(content)


def test_a_later_version_is_named(made: bytes) -> None:
    with pytest.raises(ProofBroken, match="version 2"):
        read_proof(changed(made, lambda said: said.update(version=2)))


def row(said: dict[str, Any], event: str) -> int:
    return next(k for k, one in enumerate(said["ledger"]["rows"]) if len(one) == 2 and one[1][4] == event)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a row edited": (
        lambda said: said["ledger"]["rows"][row(said, "parked")][1].__setitem__(5, '{"why":"x"}'),
        "was changed",
    ),
    "a row dropped": (lambda said: said["ledger"]["rows"].pop(row(said, "parked")), "is missing"),
    "the last row dropped": (lambda said: said["ledger"]["rows"].pop(), "ends with row"),
    "two rows swapped": (
        lambda said: said["ledger"]["rows"].insert(3, said["ledger"]["rows"].pop(row(said, "parked"))),
        "row",
    ),
    "a row appended": (lambda said: said["ledger"]["rows"].append(said["ledger"]["rows"][-1]), "is missing"),
    "a row of its own withheld": (
        lambda said: said["ledger"]["rows"].__setitem__(
            row(said, "discarded"),
            [said["ledger"]["rows"][row(said, "discarded")][0], said["stream_id"], "0" * 64],
        ),
        "withheld",
    ),
    "a row of its own passed off as another's": (
        lambda said: said["ledger"]["rows"].__setitem__(
            row(said, "discarded"),
            [
                said["ledger"]["rows"][row(said, "discarded")][0],
                "20231114t221320-000000000000",
                hashlib.sha256(
                    json.dumps(said["ledger"]["rows"][row(said, "discarded")][1], separators=(",", ":")).encode()
                ).hexdigest(),
            ],
        ),
        "was changed",
    ),
    "the head": (lambda said: said["ledger"].update(head="0" * 64), "head is another"),
    "the audit's state": (
        lambda said: said["audit"]["chunks"][2].update(state="acknowledged"),
        r"audit\.chunks\[2\]\.state",
    ),
    "an audit that says complete": (lambda said: said["audit"].update(complete=True), r"audit\.complete"),
    "a chunk hidden": (lambda said: said["audit"]["chunks"].pop(), r"audit\.chunks"),
    "another stream's": (lambda said: said.update(stream_id="20231114t221320-000000000000"), "business"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_with_its_digest_made_right_is_named(made: bytes, what: str) -> None:
    change, says = EDITS[what]
    with pytest.raises(ProofBroken, match=says):
        read_proof(changed(made, change))


def forged(made: bytes, change: Callable[[list[Any], dict[str, Any]], object], event: str) -> bytes:
    """What somebody without a key can do: edit a row, and compute everything anew that is computed."""
    said = json.loads(made)
    told = said["ledger"]
    rows = [content[0] if len(content) == 1 else content for _, *content in told["rows"]]
    chosen = next(one for one in rows if len(one) == 6 and one[4] == event)
    detail = json.loads(chosen[5])
    change(chosen, detail)
    chosen[5] = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    digest = bytes.fromhex(told["previous"])
    told["rows"] = []
    for one in rows:
        whose, row_sha256 = one if len(one) == 2 else (one[2], None)
        if row_sha256 is None:
            row_sha256 = hashlib.sha256(json.dumps(one, separators=(",", ":")).encode()).hexdigest()
        own = hashlib.sha256(f"{whose or ''}\n{row_sha256}".encode()).digest()
        digest = hashlib.sha256(digest + own).digest()
        told["rows"].append([digest.hex(), one] if len(one) == 6 else [digest.hex(), *one])
    told["head"] = digest.hex()
    return changed(json.dumps(said).encode(), lambda _: None)


def test_a_forged_chain_holds_but_for_what_it_tells(made: bytes) -> None:
    """So that the tests below fail for their own reason."""
    with pytest.raises(ProofBroken, match=r"audit\.chunks\[2\]\.parked_reason"):
        read_proof(forged(made, lambda _, detail: detail.update(why="another"), "parked"))


HOSTILE: dict[str, tuple[str, Callable[[list[Any], dict[str, Any]], object]]] = {
    "a chunk_idx that is a path": ("spooled", lambda row, _: row.__setitem__(3, "../../../x")),
    "a negative chunk_idx": ("spooled", lambda row, _: row.__setitem__(3, -1)),
    "half a chunk_idx": ("spooled", lambda row, _: row.__setitem__(3, 0.5)),
    "a chunk_idx that is true": ("spooled", lambda row, _: row.__setitem__(3, True)),
    "a chunk_idx that no database holds": ("spooled", lambda row, _: row.__setitem__(3, 10**30)),
    "a moment that is a text": ("spooled", lambda row, _: row.__setitem__(1, "now")),
    "an event that is a number": ("sealed_or_parked", lambda row, _: row.__setitem__(4, 5)),
    "a number of frames that is a text": ("spooled", lambda _, detail: detail.update(n="4")),
    "a digest that is none": ("spooled", lambda _, detail: detail.update(sha256="../x")),
    "a data_id that is a path": ("opened", lambda _, detail: detail["parts"][0].update(data_id="../..")),
    "a data_id that is a number": ("opened", lambda _, detail: detail["parts"][0].update(data_id=5)),
    "a name that is a number": ("opened", lambda _, detail: detail["settings"].update(name=5)),
    "settings of another kind": ("opened", lambda _, detail: detail.update(settings=[1])),
    "an unknown setting": ("opened", lambda _, detail: detail["settings"].update(more=1)),
    "request ids that are a list": ("acknowledged", lambda _, detail: detail.update(request_ids=[1])),
    "a status that is a text": ("acknowledged", lambda _, detail: detail.update(status="200")),
    "a receipt with more in it": ("acknowledged", lambda _, detail: detail.update(more=1)),
    "a reason that is a list": ("parked", lambda _, detail: detail.update(why=[1])),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_could_not_be_is_refused_even_when_its_chain_holds(made: bytes, what: str) -> None:
    """An unsigned chain can be computed anew by anybody; what it tells becomes files and rows when unpacked."""
    event, change = HOSTILE[what]
    with pytest.raises(ProofBroken) as raised:
        read_proof(forged(made, change, "parked" if event == "sealed_or_parked" else event))
    assert "its audit is not" not in str(raised.value)


@pytest.mark.parametrize("stream_id", ["../../x", "", "20231114t221320-00000000000Z", 5, None])
def test_a_stream_id_that_is_a_path_is_refused(made: bytes, stream_id: object) -> None:
    old = json.loads(made)["stream_id"]
    said = json.loads(made.replace(json.dumps(old).encode(), json.dumps(stream_id).encode()))
    with pytest.raises(ProofBroken):
        read_proof(forged(json.dumps(said).encode(), lambda _row, _detail: None, "parked"))


def test_what_stands_beside_ledger_and_audit_counts_too(made: bytes) -> None:
    with pytest.raises(ProofBroken, match="something beside them"):
        read_proof(made.replace(b'"made_by":"a test"', b'"made_by":"others"'))
    with pytest.raises(ProofBroken, match="byte for byte"):
        read_proof(made.replace(b'"version":1', b'"version": 1'))


def test_a_ledger_that_does_not_hold_makes_no_proof(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(spool, stream)
    monkeypatch.setattr("spool.proof.ledger.digest_of", lambda _event: bytes(32))
    with pytest.raises(SpoolError, match="does not hold at row"):
        make_proof(spool, stream.stream_id, made_by="a test")


# Signatures ---------------------------------------------------------------------------------------------------


def test_a_signature_says_who(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    live(spool, stream)
    key = make_key(tmp_path / "key.pem")
    made = make_proof(spool, stream.stream_id, made_by="a test", key=SigningKey(tmp_path / "key.pem"))
    assert read_proof(made).signed_by == key.public_key
    with pytest.raises(ProofBroken, match="signature does not hold"):
        read_proof(changed(made, lambda said: said.update(made_by="somebody")))
    said = json.loads(made)
    for name in ("public_key", "signature"):
        other = {**said, "signature": {**said["signature"], name: "00" * (len(said["signature"][name]) // 2)}}
        with pytest.raises(ProofBroken, match="signature does not hold"):
            read_proof(json.dumps(other, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def test_a_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    make_key(path)
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SpoolError, match="is there already"):
        make_key(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [None, b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpoolError, match="key"):
        SigningKey(path)


# The bytes ----------------------------------------------------------------------------------------------------


def test_a_chunk_is_the_same_as_sent_or_as_it_lay_in_the_spool(spool: Spool, stream: Stream, made: bytes) -> None:
    proof = read_proof(made)
    lease = spool.lease(stream.stream_id, "a look", ttl_s=60)
    assert lease is not None
    for chunk in spool.chunks(stream.stream_id):
        if chunk.state is ChunkState.DISCARDED:
            continue
        wire = bytes(lease.read(chunk))
        local = (spool.zarr_path(stream.stream_id) / "frames" / f"c.{chunk.chunk_idx}.0.0").read_bytes()
        proof.check_chunk(chunk.chunk_idx, wire)
        proof.check_chunk(chunk.chunk_idx, local)
    with pytest.raises(ProofBroken, match="does not know a chunk 99"):
        proof.check_chunk(99, wire)


@pytest.mark.parametrize("form", ["wire", "local"])
def test_any_byte_of_a_chunk_that_is_flipped_is_noticed(
    spool: Spool, stream: Stream, made: bytes, form: str
) -> None:
    proof = read_proof(made)
    lease = spool.lease(stream.stream_id, "a look", ttl_s=60)
    chunk = spool.chunk(stream.stream_id, 0)
    assert lease is not None
    assert chunk is not None
    wire = bytes(lease.read(chunk))
    local = (spool.zarr_path(stream.stream_id) / "frames" / "c.0.0.0").read_bytes()
    content = wire if form == "wire" else local
    described = range(len(wire) - 68, len(local) - 68) if form == "local" else range(0)
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 0x20
        if at in described:
            continue  # what the spool says of the chunk was never sent
        with pytest.raises(ShardDamaged):
            proof.check_chunk(0, bytes(flipped))


def test_what_differs_is_named_as_narrowly_as_can_be_told(spool: Spool, stream: Stream, made: bytes) -> None:
    proof = read_proof(made)
    lease = spool.lease(stream.stream_id, "a look", ttl_s=60)
    chunk = spool.chunk(stream.stream_id, 0)
    assert lease is not None
    assert chunk is not None
    wire = bytes(lease.read(chunk))
    for content, says in (
        (b"\0" + wire[1:], "its frames differ: frame 0, in bytes 0 to"),
        (wire[:-1] + b"\0", "its index differs, somewhere in bytes"),
        (wire[:-1], f"it has {len(wire) - 1} bytes where {len(wire)} were sent"),
        (b"", "it has 0 bytes"),
    ):
        with pytest.raises(ShardDamaged, match=says):
            proof.check_chunk(0, content)
