"""``framespool doctor``: whether recording and delivery can work on this machine, and what to do where not."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from uploader import __version__, config
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, json_option, plain_errors, spool_option
from uploader.doctor import Check, Examination, Finding, Subject, Verdict, checks_of

_COLOURS = {Verdict.OK: "good", Verdict.WARNING: "wait", Verdict.PROBLEM: "bad", Verdict.NOT_CHECKED: "dim"}
_VERDICT_WIDTH, _NAME_WIDTH = 12, 12


@click.command()
@spool_option
@click.option("--endpoint", help="Where streams go.  [default: AS_API_ENDPOINT, then the vendor's]")
@click.option("--offline", is_flag=True, help="Look at this machine only: ask nothing of the network.")
@json_option
@plain_errors
def command(spool_dir: Path | None, endpoint: str | None, *, offline: bool, as_json: bool) -> None:
    """Look at disk, index, clock, network, key and server (or folder, or bucket), and say what to do about each.

    Takes some seconds. What is tried on disk is removed again, and the server is only asked questions. Exits
    with 1 if something keeps recording or delivery from working; warnings alone leave it 0.
    """
    subject = Subject(root=config.spool_dir(spool_dir).absolute(), endpoint=config.endpoint(endpoint))
    if not as_json:
        screen.say(f"Spool     {subject.root}")
        screen.say(f"Endpoint  {subject.endpoint}")
        screen.say()
    findings = []
    for check, finding in _examine(subject, offline=offline, quiet=as_json):
        findings.append((check, finding))
        if not as_json:
            screen.say("\n".join(_lines(check, finding)))
    if as_json:
        screen.print_json(_as_object(subject, findings))
    else:
        screen.say()
        screen.say(_verdict([finding for _, finding in findings]))
    if any(finding.verdict is Verdict.PROBLEM for _, finding in findings):
        raise SystemExit(BAD_NEWS)


def _examine(subject: Subject, *, offline: bool, quiet: bool) -> Iterator[tuple[Check, Finding]]:
    examination = Examination(subject, offline=offline)
    for check in checks_of(subject):
        with _busy(check.name, quiet=quiet):
            finding = examination.look(check)
        yield check, finding


@contextmanager
def _busy(name: str, *, quiet: bool) -> Iterator[None]:
    """Say what is being looked at, while somebody looks at us."""
    if quiet or not screen.is_terminal(sys.stderr):
        yield
        return
    with screen.console(sys.stderr).status(f"checking {name}"):
        yield


def _lines(check: Check, finding: Finding) -> list[str]:
    margin = _VERDICT_WIDTH + _NAME_WIDTH
    room = screen.width() - margin
    told = words.wrapped(words.printable(finding.seen), room)
    if finding.advice is not None:
        told += words.wrapped(f"-> {words.printable(finding.advice)}", room, indent="   ")
    verdict = screen.painted(f"{finding.verdict.value:{_VERDICT_WIDTH}}", _COLOURS[finding.verdict])
    first, *rest = told
    return [f"{verdict}{check.name:{_NAME_WIDTH}}{first}", *(f"{'':{margin}}{line}" for line in rest)]


def _verdict(findings: list[Finding]) -> str:
    problems, warnings, left = (
        sum(one.verdict is kind for one in findings)
        for kind in (Verdict.PROBLEM, Verdict.WARNING, Verdict.NOT_CHECKED)
    )
    also = f"; {words.count(warnings, 'warning')}" if warnings else ""
    also += f"; {left} not checked" if left else ""
    if problems:
        return screen.painted(f"{words.count(problems, 'problem')} to solve{also}.", "bad")
    return screen.painted(f"Nothing keeps recording and delivery from working{also}.", "good")


def _as_object(subject: Subject, findings: list[tuple[Check, Finding]]) -> dict[str, Any]:
    return {
        "framespool": __version__,
        "spool": str(subject.root),
        "endpoint": subject.endpoint,
        "well": not any(finding.verdict is Verdict.PROBLEM for _, finding in findings),
        "findings": [
            {
                "check": check.name,
                "verdict": finding.verdict.value,
                "seen": finding.seen,
                "advice": finding.advice,
                "numbers": dict(finding.numbers),
            }
            for check, finding in findings
        ],
    }
