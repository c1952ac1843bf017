"""Whatever may be given to ``push()``: arrays of every kind, and what is no array; indices and times likewise."""

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from spool import Chunk, Limits, Spool, SpoolError
from spool.testing import FakeClock, some_settings
from tools.fuzz.finding import Finding
from tools.fuzz.hostile import VALUES, odds
from tools.fuzz.strain import Hangs, strained

NAME = "arrays"
_CHUNK_SIZE = 5
_GROWTH_MAX, _CPU_S_MAX = 600 << 20, 30.0
_DTYPES = (
    *("uint8",) * 12, "int8", "bool", "uint16", ">u2", "int64", "float16", "float32", "float64", "complex128",
    "longdouble", "datetime64[ms]", "timedelta64[s]", "S3", "U2", "V5", "object", "u1,f4", ">f8",
)  # fmt: skip
_INDICES: tuple[Any, ...] = (
    True, False, np.True_, np.int64(3), np.uint8(7), np.float64(3), -1, 10**9, 10**9 + 1, 1 << 63, 1 << 64, 2.0,
    "3", np.array(4), np.array([4]), b"1", *VALUES,
)  # fmt: skip
_TIMES: tuple[Any, ...] = (
    None, 0, -1, 1.5, 1e12, 2**53, 2**53 - 1, 1e308, float("nan"), float("inf"), "1", "now", np.float32(5), True,
    np.datetime64("2026-01-01"), 10**400, *VALUES,
)  # fmt: skip


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    with Spool(folder / "spool", limits=Limits(min_free_bytes=0), clock=FakeClock()) as spool:
        for number in range(count) if only is None else (only,):
            chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
            what, given = _given(chance)
            idx = chance.choice(_INDICES) if odds(chance, 0.2) else chance.randrange(20)  # now and then
            start = chance.choice(_TIMES) if odds(chance, 0.2) else None  # the same
            why = _tried(spool, given, idx, start)
            shown = f"{what}, chunk_idx {idx!r:.40}, start {start!r:.40}"
            yield Finding(area=NAME, number=number, what=shown, why=why) if why else None


def _tried(spool: Spool, given: object, idx: Any, start: Any) -> str | None:  # noqa: ANN401 - anything at all
    stream = spool.open_stream(some_settings(chunk_size=_CHUNK_SIZE)).stream_id
    try:
        with warnings.catch_warnings(), strained() as strain:
            warnings.simplefilter("ignore")
            chunk = spool.push(stream, idx, given, start)  # type: ignore[arg-type]
    except Hangs as error:
        return str(error)
    except SpoolError as error:
        if spool.stream(stream).tally.pushed:
            return "raised, and has stored something"
        long = len(f"{error}\n{error.hint}")
        return f"its error has {long} characters" if long > 2000 else None  # noqa: PLR2004 - a few lines
    except Exception as error:  # noqa: BLE001 - any other is the finding
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    return strain.why(bytes_max=_GROWTH_MAX, cpu_s_max=_CPU_S_MAX) or _stored_wrongly(spool, chunk, given)


def _stored_wrongly(spool: Spool, chunk: Chunk, given: object) -> str | None:
    expected = np.asarray(given)
    expected = expected[np.newaxis] if expected.ndim == 2 else expected  # noqa: PLR2004 - one frame
    if expected.dtype != np.uint8:
        return f"frames of {expected.dtype} were stored"
    frames = zarr.open_group(spool.zarr_path(chunk.stream_id), mode="r")["frames"]
    assert isinstance(frames, zarr.Array)
    begin = chunk.chunk_idx * _CHUNK_SIZE
    if not np.array_equal(np.asarray(frames[begin : begin + chunk.n]), expected):
        return "other frames were stored than those that were pushed"
    return None


def _given(chance: random.Random) -> tuple[str, object]:
    if odds(chance, 0.15):  # no array at all
        given: Any = chance.choice(
            (
                *VALUES,
                "frames",
                b"\0" * 12,
                range(5),
                {1, 2},
                object(),
                _Raises(),
                [[1, 2], [3]],
                iter([1]),
                np.uint8,
            )
        )
        return f"{given!r:.60}", given
    shape = tuple(
        chance.choice((0, 1, 1, 2, 3, 4, 5, 6, 17)) for _ in range(chance.choice((0, 1, 2, 2, 3, 3, 3, 4, 6)))
    )
    dtype = chance.choice(_DTYPES)
    flat = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, int(np.prod(shape)) + 64, np.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array: Any = flat[: int(np.prod(shape))].reshape(shape).astype(dtype)
    except (TypeError, ValueError):
        array = flat[: int(np.prod(shape))].reshape(shape)
    done = []
    for twist in chance.sample(sorted(_TWISTS), chance.choice((0, 0, 1, 2))):
        try:
            array = _TWISTS[twist](array)
        except (ValueError, TypeError, IndexError, AttributeError, MemoryError, NotImplementedError):
            continue
        done.append(twist)
    return f"{dtype} {shape} {' '.join(done)}", array


class _Raises:
    """Says that it is an array, and then is none."""

    def __array__(self, *_: object, **__: object) -> np.ndarray[Any, Any]:
        raise RuntimeError("the camera is gone")


class _Sub(np.ndarray[Any, Any]):
    """A class of somebody's own."""


def _matrix(array: np.ndarray[Any, Any]) -> np.matrix[Any, Any]:
    with warnings.catch_warnings(action="ignore", category=PendingDeprecationWarning):
        return np.asmatrix(array)


_TWISTS: dict[str, Callable[[Any], Any]] = {
    "reversed": lambda array: array[::-1],
    "mirrored": lambda array: array[..., ::-1],
    "transposed": lambda array: array.T,
    "every second": lambda array: array[..., ::2],
    "Fortran": np.asfortranarray,
    "read-only": lambda array: _flagged(array.copy()),
    "masked": lambda array: np.ma.masked_equal(array, 3),
    "matrix": _matrix,
    "subclass": lambda array: array.view(_Sub),
    "list": lambda array: array.tolist(),
    "broadcast": lambda array: np.broadcast_to(array, (3, *array.shape)),
    "overlapping": lambda array: np.lib.stride_tricks.sliding_window_view(array, 2, axis=-1),
    "memoryview": memoryview,
    "bytes": bytes,
    "nested": lambda array: [array, array],
    "generator": iter,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
}


_HUGE = ((3, 1 << 20, 1 << 20), (2, 1, 1 << 40), (1 << 40, 2, 2), (1 << 20, 1 << 20), (2, 1 << 16, 1 << 16))
"""Of one value that is repeated: no memory holds what they would be."""


def _flagged(array: Any) -> Any:  # noqa: ANN401 - any array
    array.flags.writeable = False
    return array
