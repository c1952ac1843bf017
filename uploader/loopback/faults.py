"""Rules that make the server misbehave, and when each applies. Pure: `gate.py` does what they say.

A rule is given as JSON:

    {"match": {"method": "PUT", "path": "/c/3/0/0"},
     "action": "status" | "html200" | "delay" | "drop" | "cut" | "lost_answer" | "truncated_answer",
     "status": 503, "body": "..." or JSON, "headers": {"Retry-After": "1"},     for status
     "seconds": 0.5,                                                             for delay
     "bytes": 65536,                       for cut: close after so many bytes of a body that the server reads
     "times": null or N,                   fire at most N times
     "after": N,                           let the first N matches pass
     "probability": 0.3, "seed": 1         fire on some of the rest only, the same ones for the same seed}

Only `action` is required. `path` is a regular expression, searched in the path and also in `path?query` with
the escapes undone, so that a presign request can be matched by its chunk: `upload_urls.*/c/3/0/0`.

Rules are tried in the order in which they were given. A delay that fires lets the later rules be tried; any
other action that fires is the only one. Rules live in memory: a restarted server has none.
"""

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from uploader.loopback.errors import InvalidRequestError, Problem
from uploader.loopback.validation import as_object

ACTIONS: Final = frozenset({"status", "html200", "delay", "drop", "cut", "lost_answer", "truncated_answer"})
_FIELDS: Final = frozenset(
    {
        "match",
        "action",
        "status",
        "body",
        "headers",
        "seconds",
        "bytes",
        "times",
        "after",
        "probability",
        "seed",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way to misbehave, and when."""

    action: str
    method: str | None = None
    path: re.Pattern[str] = re.compile("")
    status: int = 503
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut_after_bytes: int = 0
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int = 0

    def matches(self, method: str, path: str, query: str) -> bool:
        """Whether the rule is about this request."""
        if self.method is not None and self.method != method:
            return False
        return any(self.path.search(text) for text in (path, f"{path}?{unquote(query)}"))


def parse_rules(body: object) -> list[Rule]:
    """The rules of a JSON list.

    Raises:
        InvalidRequestError: It is no list of rules; none of them is taken.
    """
    if not isinstance(body, list):
        raise _invalid("a JSON list of rules is needed")
    return [_parse_rule(as_object(each)) for each in body]


class Faults:
    """The rules in force, and how often each has matched and fired."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self.down = False

    def add(self, rules: Iterable[Rule]) -> None:
        """Put rules behind those in force."""
        self._armed += [_Armed(rule=rule, dice=random.Random(rule.seed)) for rule in rules]  # noqa: S311 - repeatable is the point

    def clear(self) -> None:
        """Behave again. An outage is not a rule and stays."""
        self._armed.clear()

    def firing(self, method: str, path: str, query: str) -> list[Rule]:
        """The rules to apply to this request: any number of delays, then at most one other."""
        chosen: list[Rule] = []
        for armed in self._armed:
            if armed.rule.matches(method, path, query) and armed.fires():
                chosen.append(armed.rule)
                if armed.rule.action != "delay":
                    break
        return chosen

    def summary(self) -> list[dict[str, object]]:
        """The rules in force with their counters, as JSON."""
        return [armed.summary() for armed in self._armed]


@dataclass(slots=True, kw_only=True)
class _Armed:
    rule: Rule
    dice: random.Random
    matched: int = 0
    fired: int = 0

    def fires(self) -> bool:
        """Count one match; whether the rule applies to it."""
        self.matched += 1
        if self.matched <= self.rule.after or self.fired == self.rule.times:
            return False
        if self.dice.random() >= self.rule.probability:
            return False
        self.fired += 1
        return True

    def summary(self) -> dict[str, object]:
        rule = self.rule
        return {
            "match": {"method": rule.method, "path": rule.path.pattern},
            "action": rule.action,
            "times": rule.times,
            "after": rule.after,
            "probability": rule.probability,
            "matched": self.matched,
            "fired": self.fired,
        }


def _parse_rule(given: dict[str, object]) -> Rule:
    for unknown in given.keys() - _FIELDS:
        raise _invalid(f"a rule has no {unknown!r}; it has {', '.join(sorted(_FIELDS))}")
    match = as_object(given.get("match", {}))
    for unknown in match.keys() - {"method", "path"}:
        raise _invalid(f"match has no {unknown!r}; it has method, path")
    action = given.get("action")
    if action not in ACTIONS:
        raise _invalid(f"action must be one of {', '.join(sorted(ACTIONS))}, not {action!r}")
    try:
        pattern = re.compile(str(match.get("path") or ""))
    except re.error as error:
        raise _invalid(f"match.path is no regular expression: {error}") from error
    body = given.get("body", "")
    return Rule(
        action=str(action),
        method=None if match.get("method") is None else str(match["method"]).upper(),
        path=pattern,
        status=int(_number(given, "status", 503)),
        body=body if isinstance(body, str) else json.dumps(body),
        headers={name: str(value) for name, value in as_object(given.get("headers", {})).items()},
        seconds=_number(given, "seconds", 0),
        cut_after_bytes=int(_number(given, "bytes", 0)),
        times=None if given.get("times") is None else int(_number(given, "times", 0)),
        after=int(_number(given, "after", 0)),
        probability=_number(given, "probability", 1),
        seed=int(_number(given, "seed", 0)),
    )


def _number(given: dict[str, object], name: str, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _invalid(f"{name} must be a number, not negative, not {value!r}")
    return float(value)


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(Problem(where="body", field=None, message=message))
