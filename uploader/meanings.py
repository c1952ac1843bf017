"""The words of the table of signals: what was asked, what an answer means, and a row that joins the two."""

from dataclasses import dataclass
from enum import StrEnum

from uploader.exchange import Answer
from uploader.transport_faults import Fault


class Step(StrEnum):
    """What was asked."""

    API = "api"
    """A request to the API that opens, links or looks something up."""
    PRESIGN = "presign"
    """Asking for the URL of one chunk."""
    PUT = "put"
    """Sending the bytes of one chunk."""
    END = "end"
    """Asking for the end of the stream."""


class Meaning(StrEnum):
    """What it means for us."""

    DONE = "done"
    """The step has succeeded."""
    OUTAGE = "outage"
    """The endpoint cannot be used now: every stream waits, one probe at a time."""
    LATER = "later"
    """This stream tries again; others are not concerned."""
    PAUSED = "paused"
    """The key is not accepted: everything waits for a person, with slow probes."""
    ASK = "ask"
    """The catalogue must say whether the stream or the chunk is meant."""
    REFUSED = "refused"
    """This one chunk is refused: it is parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One signal and its meaning.

    Attributes:
        steps: what was asked.
        says: the signal, for people; no two rows say the same.
        does: what we do, for people.
        statuses: the HTTP statuses that fit, as inclusive spans; empty for none.
        faults: the breaks in the exchange that fit; empty when a whole answer must have come.
        html: whether it fits only when a page for people came.
        texts: words of which one must stand in the body; empty for any body.
    """

    steps: tuple[Step, ...]
    meaning: Meaning
    says: str
    does: str
    statuses: tuple[tuple[int, int], ...] = ()
    faults: tuple[Fault, ...] = ()
    html: bool = False
    texts: tuple[str, ...] = ()

    def fits(self, step: Step, answer: Answer) -> bool:
        """Whether this row speaks about the answer."""
        if step not in self.steps:
            return False
        if answer.fault is not None:
            return answer.fault in self.faults
        if not any(low <= answer.status <= high for low, high in self.statuses):
            return False
        is_page_as_asked = answer.is_html or not self.html
        return is_page_as_asked and (not self.texts or any(text in answer.text for text in self.texts))
