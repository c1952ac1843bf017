"""What a bad input has shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An input that was answered wrongly.

    Attributes:
        area: the area's ``NAME``.
        number: which input of the seed; with the seed it repeats the finding.
        what: the input, short enough to read.
        why: the promise that it broke.
    """

    area: str
    number: int
    what: str
    why: str
