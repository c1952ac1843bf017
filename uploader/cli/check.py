"""``framespool check``: whether a proof holds, and whether what arrived is what it tells of."""

import string
from dataclasses import asdict
from pathlib import Path

import click

from spool import Proof, ProofBroken, read_proof
from uploader.cli import screen, words
from uploader.cli.audit_view import whole_summary_lines
from uploader.cli.common import BAD_NEWS, json_option, plain_errors
from uploader.cli.comparing import Compared, compare, compared_lines, received_option

_PUBLIC_KEY_DIGITS = 64


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@received_option
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
        compared = compare(proof.audit, where, quiet=as_json)
    is_well = proof.audit.complete and all(one.is_same for one in compared or ())
    if as_json:
        screen.print_json(_json(file, proof, compared))
    else:
        screen.say("\n".join(_lines(proof, compared)))
    if not is_well:
        raise SystemExit(BAD_NEWS)


def _lines(proof: Proof, compared: list[Compared] | None) -> list[str]:
    made = f"made {words.printable(proof.made_at)} by {words.printable(proof.made_by)}"
    lines = [
        *whole_summary_lines(proof.audit),
        "",
        f"The proof holds: {words.count(proof.rows, 'ledger row')} up to row {proof.head_seq}, {made}.",
        f"Ledger head {proof.head}",
        f"Signed by   {proof.signed_by}"
        if proof.signed_by
        else "Not signed: nobody vouches for the ledger itself.",
    ]
    if compared is None:
        return [*lines, "What arrived was not looked at: --received says where it is."]
    return [*lines, *compared_lines(compared)]


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
