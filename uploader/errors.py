"""What can go wrong while talking to the server or reading frames, and what to do about it.

::

    UploaderError                   everything below; carries a ``hint``
    ├── ConfigurationError          an argument, option or environment variable is not usable
    ├── ServerUnreachable           no answer, or none that the server itself gave
    ├── KeyRefused                  the server does not accept the API key
    ├── RequestRefused              the server answered, and said no
    └── sources.SourceError         a camera, file or folder of frames cannot be read

Errors of the spool (``spool.SpoolError``) pass through unchanged. No error of either means that something
spooled was lost.
"""


class UploaderError(Exception):
    """Base of every error of this package.

    Attributes:
        hint: what the operator can do next, one sentence.
    """

    hint = "Nothing that was spooled is lost."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class ConfigurationError(UploaderError, ValueError):
    """An argument, option or environment variable is not usable; nothing was begun."""

    hint = "Nothing was begun. Correct the value and try again."


class ServerUnreachable(UploaderError):
    """No answer came, or none that the server itself gave (a proxy's page, an overload).

    Attributes:
        is_outage: the whole server is concerned, and not only what was asked.
        was_sent: it may have got what was asked, although no usable answer came.
        was_slow: no answer came in time.
        min_wait_s: the least time to wait before it is asked again.
    """

    hint = "No stream was begun on the server. Check the network and AS_API_ENDPOINT, then try again."

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        is_outage: bool = True,
        was_sent: bool = True,
        was_slow: bool = False,
        min_wait_s: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.was_sent = was_sent
        self.was_slow = was_slow
        self.is_outage = is_outage
        self.min_wait_s = min_wait_s


class KeyRefused(UploaderError):
    """The server does not accept the API key."""

    hint = "Set AS_API_KEY to a valid key, or store one with 'framespool login'. Nothing that was spooled is lost."


class RequestRefused(UploaderError):
    """The server answered, and said no.

    Attributes:
        status: the HTTP status.
    """

    hint = "No stream was begun on the server. Correct the value that the server names."

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
