"""An audit as one self-contained page: it loads nothing, runs nothing, and can be kept for years.

Whatever comes from elsewhere (names, a server's words) is escaped, and the page forbids scripts to itself.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spool import AuditedChunk, StreamAudit
from uploader.cli import words
from uploader.cli.audit_view import MARKS, mark_of
from uploader.cli.page.chunk_map import NAMES, chunk_map, marks
from uploader.cli.page.timeline import timeline
from uploader.png import data_url, shrunk

_LONGEST_SIDE = 480
_REPEATED_MAX = 200
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame to show, or why there is none.

    Attributes:
        title: which one.
        frame: uint8 ``(height, width)``; ``None`` when it cannot be shown.
        says: when it was captured, or why it is not there.
    """

    title: str
    frame: NDArray[np.uint8] | None
    says: str


def audit_page(
    found: StreamAudit, pictures: Sequence[Picture], verdict: Sequence[str], *, made_at_ms: int, made_by: str
) -> str:
    """The page.

    Args:
        found: the audit.
        pictures: frames to show.
        verdict: its lines, the first one the answer.
        made_at_ms: now.
        made_by: this program.
    """
    stream = found.stream
    name = words.printable(stream.settings.name)
    drawn, what = timeline(found)
    style = files(__name__).joinpath("style.css").read_text("utf-8")
    ids = " · ".join((stream.stream_id, stream.data_id or "no data_id yet", stream.settings.destination))
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(name)}: audit</title><style>{style}</style>",
        f'</head><body><main><h1>{escape(name)}</h1><p class="ids">{escape(ids)}</p>',
        f'<div class="verdict {"good" if found.complete else "bad"}">{escape(verdict[0])}',
        *(f"<span>{escape(line)}</span>" for line in verdict[1:]),
        "</div>",
        _facts(found),
    ]
    if found.chunks:
        parts += ["<h2>Every chunk</h2>", chunk_map(found), _legend(found)]
        parts += ["<h2>Recorded and acknowledged over time</h2>", drawn, _timeline_legend(found, what)]
        parts += ["<h2>Frames</h2>", '<div class="frames">', *map(_figure, pictures), "</div>"]
    if found.outages:
        parts += ["<h2>Outages</h2>", _outages(found)]
    if found.chunks:
        parts += ["<h2>Attempts</h2>", *_attempts(found), "<h2>Records</h2>", _records(found)]
    parts.append(
        f"<footer>Made {words.moment(made_at_ms)} UTC by {escape(made_by)} from the spool's ledger. "
        "All times are UTC by the recording computer's clock. 'framespool proof' makes a file of the same that "
        "can be checked elsewhere.</footer></main></body></html>\n"
    )
    return "".join(parts)


def _facts(found: StreamAudit) -> str:
    chunks = [one.chunk for one in found.chunks]
    frames = sum(chunk.n for chunk in chunks)
    starts = [chunk.capture_start_ms_utc for chunk in chunks]
    stream = found.stream
    clock = "not measured"
    if stream.clock_offset_ms is not None:
        clock = (
            f"{stream.clock_offset_ms:+.1f} ms against the server's, ± {stream.clock_uncertainty_ms or 0:.1f} ms"
        )
    facts = {
        "Recorded": f"{words.count(len(chunks), 'chunk')}, {words.count(frames, 'frame')}",
        "Duration": f"{words.duration(frames / stream.settings.fps)} at {stream.settings.fps:g} frames/s",
        "Sent": words.size(sum(chunk.wire_bytes for chunk in chunks)),
        "First capture": words.moment(min(starts), digits=3) if starts else "none",
        "Last capture": words.moment(max(starts), digits=3) if starts else "none",
        "Watermark": "none" if found.watermark < 0 else f"chunk {found.watermark}",
        "State": stream.state.value,
        "Clock": clock,
    }
    if stream.settings.physical_sample:
        facts["Sample"] = words.printable(stream.settings.physical_sample)
    return "<dl>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>"


def _legend(found: StreamAudit) -> str:
    counts = Counter(mark_of(one) for one in found.chunks)
    counts["-"] = found.gap_count
    entries = [
        _key(NAMES[mark], f"{mark} {says}: {counts[mark]:,}") for mark, (says, _) in MARKS.items() if counts[mark]
    ]
    more = "" if sum(1 for _ in marks(found)) == len(found.chunks) + found.gap_count else _LONG_GAP
    return f'<ul class="legend">{"".join(entries)}</ul>{more}'


_LONG_GAP = '<p class="faint">Long gaps are drawn shorter than they are.</p>'


def _timeline_legend(found: StreamAudit, what: str) -> str:
    entries = [_key("key-recorded", what), _key("key-acknowledged", "acknowledged")]
    entries.append(_key("key-backlog", "recorded, not yet acknowledged"))
    if found.outages:
        entries.append(_key("outage", "outage"))
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _key(name: str, says: str) -> str:
    return f'<li><svg viewBox="0 0 12 12"><rect class="{name}" width="12" height="12"/></svg>{escape(says)}</li>'


def _figure(picture: Picture) -> str:
    caption = f"<figcaption>{escape(picture.title)}<br>{escape(picture.says)}</figcaption>"
    if picture.frame is None:
        return f'<figure><div class="none">not here any more</div>{caption}</figure>'
    height, width = picture.frame.shape
    source = data_url(shrunk(picture.frame, longest=_LONGEST_SIDE))
    return (
        f'<figure><img src="{source}" alt="{escape(picture.title)}, {width} x {height} pixels">{caption}</figure>'
    )


def _outages(found: StreamAudit) -> str:
    rows = (
        (
            words.moment(one.began_at_ms),
            "still going on" if one.ended_at_ms is None else words.moment(one.ended_at_ms),
            "" if one.ended_at_ms is None else words.duration((one.ended_at_ms - one.began_at_ms) / 1000),
            "" if one.tries is None else str(one.tries),
            words.printable(one.words),
        )
        for one in found.outages
    )
    return _table(("began", "ended", "lasted", "tries", "what"), rows)


def _attempts(found: StreamAudit) -> Iterator[str]:
    tries = Counter(one.chunk.attempts for one in found.chunks)
    told = ", ".join(
        f"{words.count(chunks, 'chunk')} with {words.count(number, 'upload')}"
        for number, chunks in sorted(tries.items())
    )
    yield f"<p>Started: {told}.</p>"
    repeated = [one for one in found.chunks if len(one.attempt_history) > 1 or _has_failed(one)]
    if not repeated:
        return
    rows = (
        (
            str(one.chunk.chunk_idx),
            "" if attempt.started_at_ms is None else words.moment(attempt.started_at_ms, digits=3),
            "" if attempt.ended_at_ms is None else words.moment(attempt.ended_at_ms, digits=3),
            attempt.result,
            words.printable(attempt.words or ""),
        )
        for one in repeated[:_REPEATED_MAX]
        for attempt in one.attempt_history
    )
    more = f" The first {_REPEATED_MAX} of them:" if len(repeated) > _REPEATED_MAX else ""
    told = f"{words.count(len(repeated), 'chunk')} did not get through at the first try.{more}"
    yield f"<details><summary>{told}</summary>"
    yield _table(("chunk", "started", "ended", "result", "what"), rows)
    yield "</details>"


def _has_failed(one: AuditedChunk) -> bool:
    return any(attempt.result in ("failed", "parked", "unanswered") for attempt in one.attempt_history)


def _records(found: StreamAudit) -> str:
    rows = (
        (
            mark_of(one),
            str(one.chunk.chunk_idx),
            str(one.chunk.n),
            str(one.chunk.wire_bytes),
            one.chunk.sha256,
            words.moment(one.chunk.capture_start_ms_utc, digits=3),
            "" if one.chunk.acknowledged_at_ms is None else words.moment(one.chunk.acknowledged_at_ms, digits=3),
            str(one.chunk.attempts),
            _evidence(one),
        )
        for one in found.chunks
    )
    heads = (
        "",
        "chunk",
        "frames",
        "bytes",
        "SHA-256 of what is sent",
        "captured",
        "acknowledged",
        "tries",
        "receipt",
    )
    table = _table(heads, rows)
    return (
        f"<details><summary>{words.count(len(found.chunks), 'chunk')}, a row for each</summary>{table}</details>"
    )


def _evidence(one: AuditedChunk) -> str:
    receipt = one.chunk.receipt
    if receipt is None:
        return words.printable(one.chunk.parked_reason or "")
    ids = " ".join(f"{name}={value}" for name, value in receipt.request_ids.items())
    checksums = " ".join(f"{name}={value}" for name, value in receipt.checksums.items())
    etag = f"ETag {receipt.etag}" if receipt.etag else ""
    return words.printable(f"{receipt.status} {etag} {checksums} {ids} {receipt.server_date or ''}")


_NUMBERS = frozenset({"chunk", "frames", "bytes", "tries"})
_WORDS = frozenset({"what", "receipt"})


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    kinds = ["number" if head in _NUMBERS else "words" if head in _WORDS else "" for head in heads]
    classes = [f' class="{kind}"' if kind else "" for kind in kinds]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(classes, heads, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(classes, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
