"""What may be pruned, and when there is no room: decisions only, no disk."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace

DEFAULT_MIN_FREE_BYTES = 1 << 30
DEFAULT_RETENTION_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much disk a spool may take. Only acknowledged chunks are ever pruned to stay within.

    Attributes:
        max_bytes: the most that shards may occupy; ``None`` for no limit but the disk.
        min_free_bytes: what stays free on the file system for everybody else.
        retention_s: how long acknowledged shards are kept when there is room; ``None`` for ever.
    """

    max_bytes: int | None = None
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES
    retention_s: float | None = DEFAULT_RETENTION_S

    def __post_init__(self) -> None:
        for name, value in (
            ("max_bytes", self.max_bytes),
            ("min_free_bytes", self.min_free_bytes),
            ("retention_s", self.retention_s),
        ):
            # Written so that a NaN is refused too.
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must be zero or more, not {value!r}")


def limits_as_text(limits: Limits) -> str:
    """The limits as JSON; without a limit is ``null``."""
    told = {
        name: None
        if value is None or math.isinf(value)
        else int(value)
        if name.endswith("_bytes")
        else float(value)
        for name, value in asdict(limits).items()
    }
    text = json.dumps(told)
    # Nothing rests on the file; but whoever verifies a spool must be able to tell a damaged one.
    return json.dumps({"limits": told, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def limits_from_text(text: str) -> Limits | None:
    """What `limits_as_text` wrote; ``None`` for anything else."""
    try:
        limits = Limits(**json.loads(text)["limits"])
        # Everything reckons with this one, and a damaged file may say anything.
        limits = replace(limits, min_free_bytes=int(limits.min_free_bytes))
        return limits if limits_as_text(limits) == text else None
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
        return None


def shortfall(
    limits: Limits, *, used_bytes: int, free_bytes: int, chunk_bytes: int = 0, reserve_bytes: int = 0
) -> int:
    """How many bytes must go before a chunk of so many bytes fits; 0 when it fits now.

    Args:
        limits: the spool's.
        used_bytes: what shards occupy now.
        free_bytes: what the file system has left.
        chunk_bytes: what is to be added.
        reserve_bytes: what the reserve still needs; it counts on the disk but not against ``max_bytes``.
    """
    over_disk = limits.min_free_bytes - (free_bytes - chunk_bytes - reserve_bytes)
    over_max = 0 if limits.max_bytes is None else used_bytes + chunk_bytes - limits.max_bytes
    return max(0, over_disk, over_max)


def acknowledged_before_ms(limits: Limits, now_ms: int) -> int | None:
    """Shards acknowledged before this moment have been kept long enough; ``None`` to keep them all."""
    if limits.retention_s is None or limits.retention_s == math.inf:
        return None
    return now_ms - int(limits.retention_s * 1000)
