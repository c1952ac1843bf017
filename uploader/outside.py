"""Text from outside, made fit for terminals, logs and the index."""

import re

# Up to what no URL holds as it is: a quote may stand in a query, before the signature.
_QUERY = re.compile(r"\?[^\s<>]+")
# And where a damaged answer shows no query, but what only a signed one holds.
_SIGNED = re.compile(r"((?:signature|credential|token|\bsig)=)[^\s<>]+", re.IGNORECASE)


def printable(text: str) -> str:
    """Text from outside, fit for terminals, logs and the index: no control characters, no lone surrogates."""
    return "".join(char if char.isprintable() else "?" for char in text)


def unsigned(text: str) -> str:
    """The text without the queries of its URLs, and without what looks like a signature besides."""
    return _SIGNED.sub(r"\1***", _QUERY.sub("?***", text))
