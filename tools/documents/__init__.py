"""The documents that are drawn from code, one module for each; ``tools/generate_docs.py`` writes them."""

MADE = "<!-- Made by tools/generate_docs.py from the code: edit the code, then run it again. -->\n"


def cell(text: str) -> str:
    """Text as the cell of a table."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
