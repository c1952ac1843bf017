"""``docs/performance.md`` and its pictures, from a stored result: everything on the page is in the result."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tools.bench import plots
from tools.bench.measuring import Comparison, Measured, short
from tools.bench.rows import ROWS

_MADE = "<!-- Made by tools/bench/run.py page from a stored result: measure again, then make it again. -->"


def write(results: Sequence[Mapping[str, Any]], docs: Path) -> None:
    """Write the page and one picture a row into that folder; pictures that are no longer shown are removed.

    Args:
        results: what ``run.py --json`` stores. The first is of all rows; later ones, of the same machine and
            libraries, measure some of them again: more often, or at a later commit.
        docs: the folder of the documents.

    Raises:
        ValueError: they are of different machines or libraries.
    """
    result = _together(results)
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


def _together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result in which the later ones' rows have taken the places of the first's."""
    first, *later = results
    for one in later:
        if _known_by(one) != _known_by(first):
            raise ValueError("the results are of different versions or machines: they make no page together")
    rows: dict[str, list[Any]] = {}
    for one in results:
        rows |= {name: list(of_row) for name, of_row in groupby(one["rows"], key=lambda row: row["row"])}
    failures = {one["row"]: one for result in results for one in result["failures"] if one["row"] not in rows}
    return {
        **first,
        "rows": [row for name in ROWS for row in rows.get(name, ())],
        "failures": list(failures.values()),
        "runs": [(one["asked"], one["repeats"], one["versions"]["commit"]) for one in results],
    }


def _known_by(result: Mapping[str, Any]) -> tuple[object, ...]:
    machine = {name: what for name, what in result["machine"].items() if name != "load"}
    versions = {name: what for name, what in result["versions"].items() if name != "commit"}
    return machine, versions, result["quick"], result["real_frames"]


def _head(result: Mapping[str, Any], comparisons: Sequence[Comparison], *, has_overview: bool) -> Iterator[str]:
    judged = [one for one in comparisons if one.met is not None]
    times = " or ".join(dict.fromkeys(str(repeats) for _, repeats, _ in result["runs"]))
    yield from ("# Performance", "", _MADE, "")
    if result["quick"]:
        yield from ("**A quick run, to see that everything works: these figures mean nothing.**", "")
    yield from (
        "How fast it is, against the released official client (a black box, which makes nothing durable), against",
        "`curl`, and against what the machine itself can do. All that is compared is measured in one run and in",
        f"turns, {times} times (long rows: at most 3; see the end). The figures are medians, with the lowest and",
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
    for asked, _, commit in result["runs"][1:]:
        if commit != versions["commit"]:
            yield f"| {', '.join(asked)} | commit `{commit}` |"
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
    if bound := ROWS[name].bound:
        yield from (bound, "")


def _repeat(result: Mapping[str, Any]) -> Iterator[str]:
    options = " --quick" * result["quick"]
    if result["versions"]["atomscale"]:
        options += " --peer peer/bin/python"
    if result["real_frames"]:
        options += " --frames FOLDER"
    yield from ("## Again", "", "```console", "$ pip install -e '.[bench,demo]'")
    if result["versions"]["atomscale"]:
        yield "$ python tools/bench/run.py install-peer peer"
    for number, (asked, repeats, _) in enumerate(result["runs"], 1):
        rows = "all" if list(asked) == list(ROWS) else " ".join(asked)
        yield f"$ python tools/bench/run.py {rows} --repeats {repeats}{options} --json result-{number}.json"
    stored = " ".join(f"result-{number}.json" for number in range(1, len(result["runs"]) + 1))
    yield from (f"$ python tools/bench/run.py page {stored}", "```", "")
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
