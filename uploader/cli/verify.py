"""``framespool verify``: whether the spool itself is sound, to the last byte."""

from pathlib import Path

import click

from spool import Repaired, Verified, repair, verify
from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, json_option, plain_errors, spool_option


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Mend what is derived from something that is intact.")
@spool_option
@json_option
@plain_errors
def command(spool_dir: Path | None, *, mend: bool, as_json: bool) -> None:
    """Read every byte of the spool and hold index, files and ledger against each other.

    Changes nothing without --repair. Exits with 0 only if nothing is wrong (any more).
    """
    root = config.spool_dir(spool_dir).expanduser().absolute()
    with screen.progress("reading", quiet=as_json) as progress:
        if mend:
            repaired = repair(root, progress=progress)
        else:
            found = verify(root, progress=progress)
            repaired = Repaired(before=found, done=(), after=found)
    if as_json:
        screen.print_json({**repaired.after.to_json(), "done": list(repaired.done)})
    else:
        screen.say("\n".join(_lines(repaired, mended=mend)))
    if not repaired.after.is_sound:
        raise SystemExit(BAD_NEWS)


def _lines(repaired: Repaired, *, mended: bool) -> list[str]:
    lines = []
    if mended:
        lines += [f"was   {words.printable(str(problem))}" for problem in repaired.before.problems]
        lines += [f"done  {words.printable(done)}" for done in repaired.done]
    for problem in repaired.after.problems:
        lines.append(f"{problem.kind:<12}{words.printable(str(problem))}")
        if not mended:
            lines.append(f"            --repair: {problem.repair}")
    return [*lines, *_summary(repaired.after)]


def _summary(found: Verified) -> list[str]:
    read = (
        f"{words.count(found.streams, 'stream')}, {words.count(found.chunks, 'chunk')},"
        f" {words.count(found.shards, 'shard')} of {words.size(found.bytes_read)} read,"
        f" {words.count(found.events, 'ledger row')}"
    )
    if found.is_sound:
        return [f"Sound: {read}.", f"Ledger head {found.ledger_head}"]
    return [f"NOT SOUND: {words.count(len(found.problems), 'problem')}; {read}."]
