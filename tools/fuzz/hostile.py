"""Values that nobody should send, and ways to put them into what somebody would."""

import copy
import json
import random
from typing import Any

TEXTS = (
    "", " ", ".", "..", "../..", "../../../../etc/passwd", "/etc/passwd", "C:\\con", "~", "a\0b",
    "a\r\nX-Evil: 1\r\n\r\n", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "\x7f", "\u202eevil", "\u2028",
    "\ud800", "\ufeff", "e\u0301", "\U0001f52c" * 9, "NaN", "null", "%00", "%s%n{0}", "$(id)", "=1+1",
    "'; drop table chunks; --", "x" * 100_000, "\u0660\u0661\u0662", "-", "--", "0", "9" * 5000, "1e999",
    "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
"""Text from outside: paths, escape codes, halves of characters, lengths, other scripts' digits."""

_DEEP = "@@deep@@"
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 53, 1 << 64, 10**4000, 1e308, float("nan"), float("inf"), -float("inf"), 0.1,
    [], {}, [[]], [None], {"": ""}, {"id": {"id": {}}}, [{}] * 1000, _DEEP, _DEEP,
)  # fmt: skip
"""JSON of every type; two of them stand for nesting without end."""


def odds(chance: random.Random, share: float) -> bool:
    """Whether this is one of the share of cases."""
    return chance.random() < share


def mutated(chance: random.Random, good: object, *, times: int | None = None) -> Any:  # noqa: ANN401 - any JSON
    """A JSON value with some of its parts replaced, left out, doubled or wrapped."""
    value: Any = copy.deepcopy(good)
    for _ in range(times if times is not None else chance.randint(1, 3)):
        value = _once(chance, value)
    return value


def _once(chance: random.Random, value: Any) -> Any:  # noqa: ANN401 - any JSON
    inside = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if inside and odds(chance, 0.8):  # most mutations go deeper
        where = chance.choice(inside)
        match chance.randrange(6):
            case 0:
                del value[where]
            case 1 if isinstance(value, list):
                value.append(copy.deepcopy(value[where]))
            case _:
                value[where] = _once(chance, value[where])
        return value
    if isinstance(value, str) and odds(chance, 0.5):  # or replace it
        return damaged_text(chance, value)
    return chance.choice([chance.choice(TEXTS), chance.choice(VALUES), [value], {"detail": value}, str(value)])


def damaged_text(chance: random.Random, text: str) -> str:
    """Text with something hostile in it, before it or behind it."""
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(TEXTS) + text[at + chance.choice((0, 0, 1, len(text))) :]


def as_json(chance: random.Random, value: object) -> bytes:
    """The value as JSON, or as almost JSON."""
    depth = chance.choice((50, 900, 990, 10_000, 200_000))
    deep = chance.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
    text = json.dumps(value).replace(f'"{_DEEP}"', deep)
    match chance.randrange(12):
        case 0:
            return damaged(chance, text.encode())
        case 1:
            return text.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))
        case 2:
            return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        case 3:
            return chance.choice((b"", b"\xff\xfe\x00[", b"<html><form>Log in</form></html>", b"OK", b"\0" * 999))
        case _:
            return text.encode()


def damaged(chance: random.Random, data: bytes, *, times: int | None = None) -> bytes:
    """Bytes with some of them turned, set, moved, doubled, or cut off."""
    found = bytearray(data)
    for _ in range(times if times is not None else chance.choice((1, 1, 2, 4, 16))):
        if not found:
            break
        at, size = chance.randrange(len(found)), chance.choice((1, 2, 4, 8, 64))
        match chance.randrange(7):
            case 0:
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                found[at : at + size] = chance.choice((b"\0", b"\xff", b"\x7f")) * len(found[at : at + size])
            case 2:
                found[at : at + size] = chance.randbytes(size)
            case 3:
                found[at:at] = found[at : at + size]
            case 4:
                del found[at : at + size]
            case 5:
                other = chance.randrange(len(found))
                found[at : at + size] = found[other : other + size]
            case _:
                if odds(chance, 0.4):  # cut now and then
                    del found[at:]
    return bytes(found)
