"""What the server says: that it is the server, what its clock shows, and whether it takes the key."""

import time

from uploader import config
from uploader.answers import meaning_of
from uploader.api import AtomscaleApi
from uploader.clock import measure
from uploader.config import ApiKey
from uploader.doctor.findings import Finding, Number, Subject, not_checked, ok, problem, warning
from uploader.doctor.machine import setting_the_clock
from uploader.doctor.network import advice_of
from uploader.keys import Keys
from uploader.meanings import Answer, Meaning, Step

OFFSET_MAX_MS = 1000.0
STEP_MAX_S = 0.5
_ANSWER_S = 5.0
_SAMPLES = 3
_STAMPS = frozenset({"receivedAtUnixMs", "transmittedAtUnixMs"})
_CHECK_ENDPOINT = (
    "Check the endpoint (--endpoint, AS_API_ENDPOINT): whoever answers there is not the ingest server."
)


def server(subject: Subject) -> Finding:
    """Ask for its time, which needs no key, and see whether it answers in the protocol's words."""
    began = time.perf_counter()
    with _api(subject) as api:
        answer = api.server_time()
    took_s = time.perf_counter() - began
    numbers: dict[str, Number] = {"status": answer.status, "answer_s": took_s}
    row = meaning_of(Step.API, answer)
    if row.meaning is not Meaning.DONE:
        seen = f"{answer.words}: {row.says}"
        is_refused = row.meaning in (Meaning.REFUSED, Meaning.PAUSED)
        return problem(seen, _CHECK_ENDPOINT if is_refused else advice_of(row), **numbers)
    said = answer.json()
    if not isinstance(said, dict) or not said.keys() >= _STAMPS:
        return problem(f"{answer.words}, but not with its time: {answer.excerpt[:60]}", _CHECK_ENDPOINT, **numbers)
    return ok(f"{answer.words} ({took_s * 1e3:.0f} ms)", **numbers)


def offset(subject: Subject) -> Finding:
    """The host clock against the server's; and against the monotonic clock, which nobody sets."""
    with _api(subject) as api:
        found = measure(api, samples=_SAMPLES)
    step_s = (time.time() - subject.began_wall_s) - (time.monotonic() - subject.began_monotonic_s)
    if found is None:
        return warning(
            "the server's clock could not be read", "Run it again; capture times are the host's own until then."
        )
    seen = f"the server's clock is {found.offset_ms:+.0f} ms from ours, give or take {found.uncertainty_ms:.0f} ms"
    numbers: dict[str, Number] = {
        "offset_ms": round(found.offset_ms, 1),
        "uncertainty_ms": round(found.uncertainty_ms, 1),
        "step_s": round(step_s, 3),
    }
    skips = config.skips_clock()
    if skips:
        seen += f"; {config.SKIP_CLOCK_VARIABLE} is set, so that capture times are not corrected by it"
    if abs(step_s) > STEP_MAX_S:
        advice = f"Somebody or something sets it: capture times jump with it. {setting_the_clock()}"
        return warning(f"{seen}; the host clock was set by {step_s:+.1f} s while we looked", advice, **numbers)
    if abs(found.offset_ms) - found.uncertainty_ms > OFFSET_MAX_MS:
        corrected = (
            "Capture times are wrong by it" if skips else "Capture times are corrected, the audit's are not"
        )
        return warning(seen, f"{corrected}. {setting_the_clock()}", **numbers)
    return ok(seen, **numbers)


def access(subject: Subject) -> Finding:
    """Whether the server takes the key, by a question that changes nothing."""
    with AtomscaleApi(subject.endpoint, Keys(subject.endpoint), timeout_s=_ANSWER_S) as api:
        answer = api.tags()
    row = meaning_of(Step.API, answer)
    numbers: dict[str, Number] = {"status": answer.status}
    if row.meaning is Meaning.PAUSED:
        advice = (
            "Store a valid key with 'framespool login' (--file without a keyring): a running worker takes it up."
        )
        return problem(f"{answer.words}: {row.says}", advice, **numbers)
    if row.meaning is not Meaning.DONE:
        return warning(f"it could not be told: {answer.words}: {row.says}", advice_of(row), **numbers)
    return _listed(answer, numbers)


def upload(_subject: Subject) -> Finding:
    """An upload needs a stream, and a stream on the server stays."""
    return not_checked("it would create a stream on the server; a short 'framespool stream sim:' tries it")


def _listed(answer: Answer, numbers: dict[str, Number]) -> Finding:
    if not isinstance(answer.json(), list):
        return warning(f"{answer.words}, but not with a list: {answer.excerpt[:60]}", _CHECK_ENDPOINT, **numbers)
    return ok("the server takes the key", **numbers)


def _api(subject: Subject) -> AtomscaleApi:
    """A connection for questions that need no key."""
    return AtomscaleApi(subject.endpoint, ApiKey(""), timeout_s=_ANSWER_S)
