"""``framespool check``: whether a proof holds, and whether what arrived is what it tells of."""

import string
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from spool import ChunkState, Proof, ProofBroken, ShardDamaged, read_proof
from uploader.cli import screen, words
from uploader.cli.audit_view import summary_lines
from uploader.cli.common import BAD_NEWS, json_option, plain_errors
from uploader.received import Received, received

_PUBLIC_KEY_DIGITS = 64
_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Compared:
    """A chunk as it arrived: ``=`` the same, ``*`` other bytes, ``-`` missing, ``+`` unknown to the proof."""

    symbol: str
    chunk_idx: int
    says: str = ""


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--received",
    "where",
    metavar="DIR|ZARR|URL",
    help="Compare the bytes that arrived: a folder or URL with the chunks as c/0/0/0 or c.0.0.0.",
)
@click.option("--signed-by", metavar="KEY", help="The public key that must have signed it.")
@json_option
@plain_errors
def command(file: Path, where: str | None, signed_by: str | None, *, as_json: bool) -> None:
    """Check a proof on any machine: its chain, its audit, its signature, and the bytes that arrived.

    Exits with 0 only if it holds, tells of a complete stream, and nothing that arrived differs or is missing.
    """
    wanted = (signed_by or "").strip().lower()
    if signed_by is not None and (len(wanted) != _PUBLIC_KEY_DIGITS or set(wanted) - set(string.hexdigits)):
        raise click.BadParameter("a public key has 64 hexadecimal digits", param_hint="--signed-by")
    try:
        proof = read_proof(file.read_bytes())
        if wanted and proof.signed_by != wanted:
            raise ProofBroken(f"it is signed by {proof.signed_by or 'nobody'}, not by {wanted}")
    except ProofBroken as error:
        if not as_json:
            raise
        screen.print_json({"file": str(file), "holds": False, "why": str(error)})
        raise SystemExit(BAD_NEWS) from None
    compared: list[Compared] | None = None
    if where is not None:
        with received(where) as there, screen.progress("comparing", quiet=as_json) as progress:
            compared = list(_compare(proof, there, progress))
    is_well = proof.audit.complete and all(one.symbol == "=" for one in compared or ())
    if as_json:
        screen.print_json(_json(file, proof, compared))
    else:
        screen.say("\n".join(_lines(proof, compared)))
    if not is_well:
        raise SystemExit(BAD_NEWS)


def _compare(proof: Proof, there: Received, progress: Callable[[int, int], None]) -> Iterator[Compared]:
    known = {one.chunk.chunk_idx: one.chunk for one in proof.audit.chunks}
    done, whole = 0, sum(chunk.wire_bytes for chunk in known.values())
    for idx, chunk in known.items():
        content = there.read(idx)
        done += chunk.wire_bytes
        progress(done, whole)
        if content is not None:
            yield _compared(proof, idx, content)
        elif chunk.state is ChunkState.ACKNOWLEDGED:
            yield Compared("-", idx, "it was acknowledged, and is not there")
    for idx in there.listed() or ():
        if idx not in known:
            yield Compared("+", idx, "the proof does not know it")


def _compared(proof: Proof, idx: int, content: bytes) -> Compared:
    try:
        proof.check_chunk(idx, content)
    except ShardDamaged as error:
        return Compared("*", idx, str(error))
    return Compared("=", idx)


def _lines(proof: Proof, compared: list[Compared] | None) -> list[str]:
    made = f"made {words.printable(proof.made_at)} by {words.printable(proof.made_by)}"
    lines = [
        *summary_lines(proof.audit),
        "",
        f"The proof holds: {words.count(proof.rows, 'ledger row')} up to row {proof.head_seq}, {made}.",
        f"Ledger head {proof.head}",
        f"Signed by   {proof.signed_by}"
        if proof.signed_by
        else "Not signed: nobody vouches for the ledger itself.",
    ]
    if compared is None:
        return [*lines, "What arrived was not looked at: --received says where it is."]
    wrong = [one for one in compared if one.symbol != "="]
    lines += [f"{one.symbol} chunk {one.chunk_idx}: {words.printable(one.says)}" for one in wrong[:_SHOWN_MAX]]
    if len(wrong) > _SHOWN_MAX:
        lines.append(f"  ... and {words.count(len(wrong) - _SHOWN_MAX, 'more chunk')}")
    same = words.count(len(compared) - len(wrong), "chunk")
    if wrong:
        return [*lines, screen.painted(f"DIFFERENT: {same} arrived as recorded, {len(wrong):,} did not.", "bad")]
    return [*lines, screen.painted(f"THE SAME: {same} arrived exactly as recorded.", "good")]


def _json(file: Path, proof: Proof, compared: list[Compared] | None) -> dict[str, object]:
    return {
        "file": str(file),
        "holds": True,
        "stream_id": proof.audit.stream.stream_id,
        "complete": proof.audit.complete,
        "made_at": proof.made_at,
        "made_by": proof.made_by,
        "rows": proof.rows,
        "head_seq": proof.head_seq,
        "head": proof.head,
        "signed_by": proof.signed_by,
        "received": None if compared is None else [asdict(one) for one in compared],
    }
