"""``framespool catalog``: the streams that lie below a folder or in a bucket, one line each."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from uploader.addresses import address_of, folder_of, is_server
from uploader.catalog import BAD, Catalog, Entry, State
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, fail, json_option, plain_errors
from uploader.destinations.stores.base import Store, StoreTrouble
from uploader.destinations.stores.making import make_store
from uploader.errors import ConfigurationError
from uploader.stored import Check, Stored

_COLOURS = {State.COMPLETE: "good", State.GROWING: "wait", State.FOREIGN: "dim"}
_WIDTHS = {"BEGAN (UTC)": 16, "STATE": 10, "FRAMES": 10, "SIZE": 8, "NAME": 20, "SAMPLE": 12}
_RIGHT = frozenset({"FRAMES", "SIZE"})


@click.command()
@click.argument("url")
@click.option("--check", "checks", is_flag=True, help="See that every object is there, and how long it is.")
@click.option("--digests", is_flag=True, help="Read every object, and compare it to the digest in its proof.")
@click.option(
    "--since",
    type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M")),
    metavar="DATE",
    help="Only what began then or later, UTC: 2026-11-26 or 2026-11-26T14:00.",
)
@click.option("--sample", help="Only streams of this physical sample.")
@json_option
@plain_errors
def command(
    url: str, *, checks: bool, digests: bool, since: datetime | None, sample: str | None, as_json: bool
) -> None:
    """List the streams that lie below URL: a folder, file:///FOLDER, s3://BUCKET/PREFIX, gs:// or az://.

    Neither a server nor a spool is asked: a stream is its Zarr group, and its proof once it is complete. Exits
    with 0 only if all that could be read holds, and nothing of it is missing.
    """
    store, only = _opened(url)
    check = Check.DIGESTS if digests else Check.OBJECTS if checks else Check.NOTHING
    wants = _wanted(since, sample)
    try:
        with screen.counter("looking at", quiet=as_json) as tell:
            found = list(Catalog(store, check=check, wants=wants, tell=tell).entries(only))
    except StoreTrouble as error:
        fail(str(error), "Nothing was changed. See where it is, and whether you may read and list it.")
    finally:
        store.close()
    if as_json:
        screen.print_json({"url": store.url, "streams": [as_object(one) for one in found]})
    else:
        screen.write_all((f"{line}\n" for line in _lines(found, store.url)), at_once=500)
    if any(one.state in BAD for one in found):
        raise SystemExit(BAD_NEWS)


def as_object(entry: Entry) -> dict[str, Any]:
    """An entry as ``catalog --json`` shows it."""
    stored = entry.stored
    return {
        "path": entry.place,
        "state": entry.state.value,
        "says": entry.says or None,
        "stream_id": entry.stream_id,
        "name": entry.name,
        "sample": entry.sample,
        "project": entry.project,
        "began_at_ms": entry.began_at_ms,
        "frames": entry.frames,
        "bytes": entry.size_bytes,
        "chunks": entry.chunks,
        "checked": None
        if stored is None
        else {
            "chunks_present": stored.present,
            "missing": stored.missing,
            "different": stored.different,
            "untimed": stored.untimed,
            "says": stored.says or None,
        },
    }


def _opened(url: str) -> tuple[Store, str | None]:
    """The store to look into; and the one place in it, when that is what was named."""
    try:
        address = address_of(url)
    except ValueError as error:
        raise ConfigurationError(f"URL {error}", hint="Name a folder, or s3://BUCKET/PREFIX.") from None
    if is_server(address):
        raise ConfigurationError(
            f"{address} is a server, which has a catalogue of its own",
            hint="Name a folder, or s3://BUCKET/PREFIX. 'framespool streams' lists what this PC has recorded.",
        )
    folder = folder_of(address)
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}", hint="If it lies on a share, mount that.")
    store = make_store(address, reads_only=True)
    above, _, name = address.rpartition("/")
    try:
        is_stream = Catalog.is_stream(store)
    except StoreTrouble:
        is_stream = False  # the listing says so, too, and is worth more
    return (make_store(above, reads_only=True), name) if is_stream else (store, None)


def _wanted(since: datetime | None, sample: str | None) -> Callable[[Entry], bool]:
    since_ms = 0 if since is None else int(since.replace(tzinfo=UTC).timestamp() * 1000)

    def wants(entry: Entry) -> bool:
        if since is None and sample is None:
            return True
        if entry.stream_id is None:  # what is not known of it cannot speak against it
            return entry.state in BAD
        is_sample = sample is None or (entry.sample or "").casefold() == sample.casefold()
        return is_sample and (entry.began_at_ms or 0) >= since_ms

    return wants


def _lines(found: list[Entry], url: str) -> Iterator[str]:
    if not found:
        yield f"There are no streams below {words.printable(url)}."
        return
    yield screen.bold(" ".join([*(_cell(name, name) for name in _WIDTHS), "PATH"]))
    for one in found:
        yield _line(one)
        for words_ in _concerns(one):
            yield from (f"  {screen.painted(line, 'bad')}" for line in words.wrapped(words_, screen.width() - 2))
    yield ""
    yield _summary(found)


def _line(entry: Entry) -> str:
    cells = {
        "BEGAN (UTC)": "-" if entry.began_at_ms is None else words.moment(entry.began_at_ms, "%Y-%m-%d %H:%M"),
        "STATE": entry.state.value,
        "FRAMES": "-" if entry.frames is None else f"{entry.frames:,}",
        "SIZE": "-" if entry.size_bytes is None else words.size(entry.size_bytes),
        "NAME": entry.name or "-",
        "SAMPLE": entry.sample or "-",
    }
    shown = {name: _cell(name, words.printable(text)) for name, text in cells.items()}
    shown["STATE"] = screen.painted(shown["STATE"], _COLOURS.get(entry.state, "bad"))
    # The path is for copying: it is last, and never cut.
    return " ".join([*shown.values(), words.printable(entry.place)])


def _cell(column: str, text: str) -> str:
    width = _WIDTHS[column]
    return f"{words.cut(text, width):{'>' if column in _RIGHT else '<'}{width}}"


def _concerns(entry: Entry) -> Iterator[str]:
    if entry.says and entry.state in BAD:
        yield words.printable(entry.says)
    if entry.stored is not None and entry.chunks is not None:
        yield from _found_by_check(entry.stored, entry.chunks, is_growing=entry.state is State.GROWING)


def _found_by_check(stored: Stored, chunks: int, *, is_growing: bool) -> Iterator[str]:
    if stored.missing:
        what = "skipped, or not there" if is_growing else "missing"
        many = words.count(chunks - stored.present, "chunk")
        yield f"{many} of {chunks:,} {what}: {words.spans(stored.missing)}"
    if stored.different:
        yield f"not what was delivered: {words.spans(stored.different)}; {words.printable(stored.says)}"
    if stored.untimed:
        yield f"without the times of their frames: {words.spans(stored.untimed)}"


def _summary(found: list[Entry]) -> str:
    ours = [one for one in found if one.state is not State.FOREIGN]
    states = [f"{many:,} {one.value}" for one in State if one is not State.FOREIGN and (many := _many(ours, one))]
    size = words.size(sum(one.size_bytes or 0 for one in ours))
    line = f"{words.count(len(ours), 'stream')}, {size}{': ' if states else '.'}{', '.join(states)}"
    others = words.count(len(found) - len(ours), "Zarr group or array", "Zarr groups or arrays")
    return f"{line}; and {others} of others" if len(found) > len(ours) else line


def _many(found: list[Entry], state: State) -> int:
    return sum(one.state is state for one in found)
