"""What goes wrong, by seed: faults of the network, of the server, and processes that die."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.fault_proxy import Fault

_PUT = "^PUT"
_API = "upload_urls|/end$"

NETWORK: tuple[tuple[Fault, Mapping[str, Any]], ...] = (
    (Fault.REFUSE, {}),
    (Fault.RESET, {}),
    (Fault.BLACK_HOLE, {}),
    (Fault.HALF_OPEN, {}),
    (Fault.STALL, {"where": "request", "after_bytes": 30_000, "only": _PUT, "times": 1}),
    (Fault.STALL, {"where": "head", "after_bytes": 40, "times": 1}),
    (Fault.STALL, {"where": "body", "after_bytes": 250, "only": _API, "times": 1}),
    (Fault.DRIP, {"where": "head", "pause_s": 0.01}),
    (Fault.DRIP, {"where": "body", "pause_s": 0.05}),
    (Fault.BANDWIDTH, {"bytes_per_s": 60_000}),
    (Fault.LATENCY, {"pause_s": 0.7}),
    (Fault.TRUNCATED_ANSWER, {}),
    (Fault.GARBAGE_ANSWER, {}),
    (Fault.LOST_ANSWER, {"only": _PUT}),
    (Fault.LOST_ANSWER, {"only": _API}),
    # Without TLS nothing protects the small JSON bodies: only shards have a checksum on this wire.
    (Fault.CORRUPT_REQUEST, {"only": _PUT}),
    (Fault.CORRUPT_ANSWER, {"only": _PUT}),
    (Fault.HTML, {}),
    (Fault.HTML, {"status": 403}),
    (Fault.REDIRECT, {}),
)

PUT, PRESIGN = {"method": "PUT"}, {"method": "POST", "path": "upload_urls"}
ANY = {"path": ""}
SERVER: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("503", {"match": ANY, "action": "status", "status": 503, "headers": {"Retry-After": "1"}}),
    ("500", {"match": ANY, "action": "status", "status": 500, "probability": 0.7}),
    ("429", {"match": PRESIGN, "action": "status", "status": 429, "headers": {"Retry-After": "1"}}),
    ("401", {"match": PRESIGN, "action": "status", "status": 401}),
    ("403 put", {"match": PUT, "action": "status", "status": 403, "body": "<Error>Request has expired</Error>"}),
    ("400 put", {"match": PUT, "action": "status", "status": 400, "body": "<Error>RequestTimeout</Error>"}),
    ("html200", {"match": ANY, "action": "html200", "probability": 0.7}),
    ("drop", {"match": ANY, "action": "drop", "probability": 0.6}),
    ("cut", {"match": PUT, "action": "cut", "bytes": 20_000}),
    ("lost_answer", {"match": ANY, "action": "lost_answer", "probability": 0.6}),
    ("truncated_answer", {"match": ANY, "action": "truncated_answer", "probability": 0.6}),
    ("slow", {"match": ANY, "action": "delay", "seconds": 0.8}),
    # Once each: a refusal that is repeated may rightly park a chunk, which only a person could undo.
    ("413 once", {"match": PUT, "action": "status", "status": 413, "times": 1}),
    ("422 once", {"match": PRESIGN, "action": "status", "status": 422, "times": 1}),
)

KILLS = ("worker", "producer", "server", "worker and producer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One thing that goes wrong, for a time; perhaps somebody dies meanwhile.

    Attributes:
        kind: ``network``, ``server`` or ``pause``.
        settings: for the proxy, or the server's rule.
        kill: who dies during the fault; empty for nobody.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    lasts_s: float
    kill: str


class Chaos:
    """Strikes without end, the same ones for the same seed: each fault once before any comes again.

    Args:
        seed: of everything.
        longest_s: how long a fault lasts at most.
    """

    def __init__(self, seed: int, *, longest_s: float) -> None:
        self._dice = random.Random(f"chaos {seed}")  # noqa: S311 - repeatable is the point
        self._longest_s = longest_s
        self._deck: list[tuple[str, str, Mapping[str, Any]]] = []
        self._kills: list[str] = []

    def next(self) -> Strike:
        """What goes wrong next."""
        kind, name, settings = self._draw()
        seed = self._dice.randrange(1 << 30)
        return Strike(
            kind=kind,
            name=name,
            settings=settings if kind == "pause" else {**settings, "seed": seed},
            lasts_s=self._dice.uniform(0.3, self._longest_s),
            kill=self._draw_kill() if self._dice.random() < 0.6 else "",  # noqa: PLR2004 - often
        )

    def choose(self, names: list[str]) -> str:
        """One of them."""
        return self._dice.choice(sorted(names))

    def pause_s(self, longest_s: float) -> float:
        """A moment."""
        return self._dice.uniform(0.0, longest_s)

    def _draw(self) -> tuple[str, str, Mapping[str, Any]]:
        if not self._deck:
            self._deck = [("network", _name(fault, told), {"fault": fault, **told}) for fault, told in NETWORK]
            self._deck += [("server", f"server {name}", rule) for name, rule in SERVER]
            self._deck.append(("pause", "server paused by a person", {}))
            self._dice.shuffle(self._deck)
        return self._deck.pop()

    def _draw_kill(self) -> str:
        if not self._kills:
            self._kills = list(KILLS)
            self._dice.shuffle(self._kills)
        return self._kills.pop()


def _name(fault: Fault, settings: Mapping[str, Any]) -> str:
    where = {_PUT: "put", _API: "api"}.get(settings.get("only", ""), "")
    return " ".join(filter(None, (fault.value, settings.get("where", ""), str(settings.get("status", "")), where)))
