"""The API key: whether there is one, and where from. Its text is never part of what is said."""

from uploader import config
from uploader.doctor.findings import Finding, Subject, ok, warning
from uploader.keys import Keys


def key(subject: Subject) -> Finding:
    """Whether there is a key that can be sent; a missing one is told by the error that says how to give one."""
    keys = Keys(subject.endpoint)
    keys.current()  # that there is none, or that its file is open to others, is told by the error
    used, *others = config.key_variables() or (keys.origin() or "",)
    if others:
        advice = f"Unset {others[0]}, so that nobody takes it for the one that counts."
        return warning(f"from {used}; {others[0]} holds another one, which is not used", advice)
    return ok(f"from {used}")
