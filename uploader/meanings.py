"""The words of the table of signals: what was asked, what came back, what that means, and a row that joins them.

They are values: whoever only shows what the index tells of them needs no network.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from uploader.faults import Fault
from uploader.outside import printable, unsigned

EXCERPT_CHARS = 300
"""So much of what came back is shown and kept."""
_SECRET_CHARS_MIN = 8


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        fault: what broke on the way, ``None`` when a whole answer arrived.
        status: the HTTP status, 0 when there was none.
        headers: names in lower case; worths fit to be shown, and of a bearable length.
        text: the body, as text.
        words: what happened, for people; carries no secret.
    """

    fault: Fault | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    words: str = ""

    @property
    def is_html(self) -> bool:
        """Whether a page for people came where a machine should have answered."""
        beginning = self.text.lstrip()[:5].lower()
        # Stores answer in XML, which is no page.
        return "html" in self.headers.get("content-type", "") or (beginning[:1] == "<" and beginning != "<?xml")

    def json(self) -> Any:  # noqa: ANN401 - whatever the server says
        """The body as JSON; ``None`` when it is not."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line, without queries: one may be a URL's signature."""
        return printable(unsigned(" ".join(self.text[: 4 * EXCERPT_CHARS].split())))[:EXCERPT_CHARS]

    def without(self, *secrets: str) -> Self:
        """The same without what the other side repeats of them: a proxy's page may show the request's headers."""
        told = self
        for secret in secrets:
            if len(secret) < _SECRET_CHARS_MIN:
                continue  # such a one stands in words by chance
            headers = {name: worth.replace(secret, "***") for name, worth in told.headers.items()}
            text, words = (one.replace(secret, "***") for one in (told.text, told.words))
            told = replace(told, headers=headers, text=text, words=words)
        return told


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
