"""``framespool proof``: one stream's records in a file that anybody can check elsewhere."""

from pathlib import Path

import click

import uploader
from spool import SigningKey, make_proof, read_proof
from uploader.cli import screen, words
from uploader.cli.common import fail, json_option, open_spool, plain_errors, spool_option


@click.command()
@click.argument("stream")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write."
)
@click.option(
    "--sign",
    "key_file",
    envvar="FRAMESPOOL_KEY_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Sign it with this key, made by 'framespool key'.  [default: FRAMESPOOL_KEY_FILE]",
)
@spool_option
@json_option
@plain_errors
def command(stream: str, output: Path, key_file: Path | None, spool_dir: Path | None, *, as_json: bool) -> None:
    """Write what the ledger tells of STREAM: chunks, digests, receipts, and the chain that holds them together.

    'framespool check' checks it on any machine, without the spool. The file holds no frames.
    """
    key = SigningKey(key_file) if key_file is not None else None
    if output.exists():
        fail(f"{output} is there already", "Choose another name: a proof is never overwritten.")
    with open_spool(spool_dir) as spool:
        ref = spool.find(stream).stream_id
        content = make_proof(spool, ref, made_by=uploader.MADE_BY, key=key)
    found = read_proof(content)  # nothing leaves here that would not hold elsewhere
    with output.open("xb") as file:
        file.write(content)
    if as_json:
        screen.print_json(
            {
                "file": str(output),
                "stream_id": ref,
                "chunks": len(found.audit.chunks),
                "complete": found.audit.complete,
                "head_seq": found.head_seq,
                "head": found.head,
                "signed_by": found.signed_by,
            }
        )
        return
    chunks = words.count(len(found.audit.chunks), "chunk")
    screen.say(f"{output}: {chunks}, {words.count(found.rows, 'ledger row')}, {words.size(len(content))}.")
    screen.say(f"Ledger head {found.head} at row {found.head_seq}")
    if found.signed_by is None:
        screen.say("Not signed: it shows that nothing was changed, not who says so.")
    else:
        screen.say(f"Signed by   {found.signed_by}")
