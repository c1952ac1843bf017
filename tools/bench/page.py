"""``docs/performance.md`` and its pictures, from a stored result: everything on the page is in the result."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tools.bench import plots
from tools.bench.measuring import Comparison, Measured, short
from tools.bench.rows import ROWS

_MADE = "<!-- Made by tools/bench/run.py page from a stored result: measure again, then make it again. -->"


def write(result: Mapping[str, Any], docs: Path) -> None:
    """Write the page and one picture a row into that folder; pictures that are no longer shown are removed.

    Args:
        result: what ``run.py --json`` stores.
        docs: the folder of the documents.
    """
    comparisons = [Comparison.from_json(one) for one in result["rows"]]
    pictures = {"overview": plots.overview(comparisons)} if any(one.met is not None for one in comparisons) else {}
    sections: list[str] = []
    for name, group in groupby(comparisons, key=lambda one: one.row):
        of_row = list(group)
        shown: list[str] = []
        for unit, same in groupby(of_row, key=lambda one: one.unit):
            picture = name if unit == of_row[0].unit else f"{name}-{len(shown)}"
            pictures[picture] = plots.row(list(same))
            shown.append(picture)
        sections += _section(name, of_row, shown)
    folder = docs / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("performance-*.svg"):
        old.unlink()
    for name, picture in pictures.items():
        (folder / f"performance-{name}.svg").write_text(picture, "utf-8", newline="\n")
    lines = [*_head(result, comparisons, has_overview="overview" in pictures), *sections, *_repeat(result)]
    (docs / "performance.md").write_text("\n".join(lines) + "\n", "utf-8", newline="\n")


def _head(result: Mapping[str, Any], comparisons: Sequence[Comparison], *, has_overview: bool) -> Iterator[str]:
    judged = [one for one in comparisons if one.met is not None]
    yield from ("# Performance", "", _MADE, "")
    if result["quick"]:
        yield from ("**A quick run, to see that everything works: these figures mean nothing.**", "")
    yield from (
        "How fast it is, against the released official client (a black box, which makes nothing durable), against",
        "`curl`, and against what the machine itself can do. All that is compared is measured in one run and in",
        f"turns, {result['repeats']} times (long rows: at most 3). The figures are medians, with the lowest and",
        "the highest in brackets. MB are 10^6 bytes of raw frames; in `drain` and `line`, of what is sent.",
        "",
        f"Of {len(judged)} targets {sum(bool(one.met) for one in judged)} are met.",
        "",
    )
    if has_overview:
        yield from ("![each ratio against its target](pictures/performance-overview.svg)", "")
    yield from _measured_on(result)
    if result["failures"]:
        yield from ("Not measured, because something went wrong:", "")
        yield from (f"* `{one['row']}`: {one['why']}" for one in result["failures"])
        yield ""
    if absent := sorted({said for one in comparisons for said in one.absent}):
        yield from ("Absent, and therefore not compared:", "")
        yield from (f"* {said}" for said in absent)
        yield ""


def _measured_on(result: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = result["machine"], result["versions"]
    yield from ("| measured on | |", "|---|---|")
    yield f"| at | {result['at']} |"
    yield f"| processor | {machine['cpu']}, {machine['cores']} cores |"
    yield f"| memory | {machine['memory_gib']} GiB |"
    yield f"| system | {machine['system']}, {machine['file_system']} |"
    yield f"| load before | {machine['load']}: so many processes of others wanted to run |"
    yield f"| framespool | {versions['framespool']}, commit `{versions['commit']}` |"
    yield f"| official client | {versions['atomscale'] or 'absent'} |"
    others = {name: of for name, of in versions.items() if name not in ("framespool", "commit", "atomscale")}
    yield f"| versions | {', '.join(f'{name} {of}' for name, of in others.items())} |"
    yield ""


def _section(name: str, comparisons: Sequence[Comparison], pictures: Sequence[str]) -> Iterator[str]:
    yield from (f"## `{name}`", "", f"{_sentence(ROWS[name].says)}", "")
    for picture in pictures:
        yield from (f"![{ROWS[name].says}](pictures/performance-{picture}.svg)", "")
    yield from ("| case | figures | ratio | target | |", "|---|---|---|---|---|")
    for one in comparisons:
        figures = ", ".join(f"{each.name} {_figures(each)}" for each in one.contenders)
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        verdict = {True: "met", False: "**missed**", None: "not compared"}[one.met] if one.target else ""
        yield f"| {one.case} | {figures} {one.unit} | {ratio} | {one.target or ''} | {verdict} |"
    yield ""


def _repeat(result: Mapping[str, Any]) -> Iterator[str]:
    asked = "all" if list(result["asked"]) == list(ROWS) else " ".join(result["asked"])
    options = f"--repeats {result['repeats']}" + " --quick" * result["quick"]
    if result["versions"]["atomscale"]:
        options += " --peer peer/bin/python"
    if result["real_frames"]:
        options += " --frames FOLDER"
    yield from ("## Again", "", "```console", "$ pip install -e '.[bench,demo]'")
    if result["versions"]["atomscale"]:
        yield "$ python tools/bench/run.py install-peer peer"
    yield f"$ python tools/bench/run.py {asked} {options} --json result.json"
    yield from ("$ python tools/bench/run.py page result.json", "```", "")
    yield from (
        "One row by its name, or `all`; `--work DIR` for a folder on the disk that is to be measured.",
        "Everything talks to a server on this machine, a process of its own; real frames are a folder's images.",
    )


def _figures(measured: Measured) -> str:
    if measured.low == measured.high:
        return short(measured.median)
    return f"{short(measured.median)} ({short(measured.low)} … {short(measured.high)})"


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."
