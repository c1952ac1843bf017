"""The spool itself: whether it opens, and whether something in it waits for a person."""

from spool import Spool, StreamState
from uploader.doctor.findings import Finding, Number, Subject, not_checked, ok, warning


def spool(subject: Subject) -> Finding:
    """Open it, as every command does, and count what waits."""
    if not (subject.root / "index.sqlite3").exists():
        return not_checked("there is no spool yet")
    with Spool(subject.root, create=False) as opened:
        streams = [s for s in opened.streams() if s.state is not StreamState.FINALIZED]
        waiting = {s.settings.destination for s in streams if s.tally.spooled and s.held is None}
        idle = [url for url in waiting if not opened.worker_lock(url).is_held_elsewhere()]
        is_recording = opened.has_live_producers()
    numbers: dict[str, Number] = {
        "unfinished_streams": len(streams),
        "waiting": sum(s.tally.spooled for s in streams),
        "parked": sum(s.tally.parked for s in streams),
        "held": sum(s.held is not None for s in streams),
        "without_worker": 0 if is_recording else len(idle),
    }
    seen = f"unfinished streams: {numbers['unfinished_streams']}, chunks waiting: {numbers['waiting']}"
    concerns = [
        *([f"chunks parked: {numbers['parked']}"] if numbers["parked"] else []),
        *([f"streams held: {numbers['held']}"] if numbers["held"] else []),
        *(["no worker delivers what waits"] if numbers["without_worker"] else []),
    ]
    if concerns:
        return warning(f"{seen}; {', '.join(concerns)}", "'framespool status' says what to do.", **numbers)
    return ok(seen, **numbers)
