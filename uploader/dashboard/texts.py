"""Text from elsewhere on its way to a page: on one line, visible, and of a length that leaves room for others."""

from typing import Any

from uploader import outside

NAME_MAX, WORDS_MAX = 200, 1000
_DEPTH_MAX = 6


def shown(text: str, most: int = WORDS_MAX) -> str:
    """At most so many visible characters; nothing in them turns the direction of what stands around."""
    clean = outside.printable(" ".join(text[: 4 * most].split()))
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def name(text: str) -> str:
    """A name of something."""
    return shown(text, NAME_MAX)


def cleaned(value: Any, *, depth: int = _DEPTH_MAX) -> Any:  # noqa: ANN401 - any JSON value
    """Every text in a JSON value; what is nested deeper than anything of ours is left out."""
    if isinstance(value, str):
        return shown(value)
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {shown(str(key), NAME_MAX): cleaned(one, depth=depth - 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(one, depth=depth - 1) for one in value]
    return value
