"""From the vendor's ``verbosity`` numbers to Python's logging, for our own loggers only."""

import logging

from uploader.errors import ConfigurationError

LEVELS = (logging.CRITICAL + 1, logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
"""By verbosity: 0 silent, 1 errors, 2 warnings, 3 what happens, 4 everything."""
OURS = ("spool", "uploader")


def set_verbosity(verbosity: int, formatter: logging.Formatter | None = None) -> None:
    """Say so much on the terminal, unless the program has set up logging itself.

    Args:
        verbosity: how much.
        formatter: makes the lines; ``None`` for lines that people read.

    Raises:
        ConfigurationError: not a whole number from 0 to 4.
    """
    if type(verbosity) is not int or verbosity not in range(len(LEVELS)):
        raise ConfigurationError(f"verbosity is {verbosity!r}, not a whole number from 0 to {len(LEVELS) - 1}")
    for name in OURS:
        logger = logging.getLogger(name)
        logger.setLevel(LEVELS[verbosity])
        if not logger.hasHandlers():
            terminal = logging.StreamHandler()
            plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
            terminal.setFormatter(formatter or plain)
            logger.addHandler(terminal)


def log_to(destination: logging.Handler) -> None:
    """Let our loggers write there, and not to the terminal; before `set_verbosity`."""
    for name in OURS:
        logging.getLogger(name).addHandler(destination)
