"""What the catalogue's ``pipeline_status`` means while chunks wait here."""

from enum import StrEnum


class ServerState(StrEnum):
    """The state of a stream on the server, as far as it matters to us."""

    ACTIVE = "active"
    WAIT = "wait"
    ENDED = "ended"
    ERROR = "error"
    UNKNOWN = "unknown"

    @property
    def does(self) -> str:
        """What we do, for people."""
        return _DOES[self]


_DOES = {
    ServerState.ACTIVE: "it takes chunks: the refusal means the chunk, or the end is asked for again",
    ServerState.WAIT: "a person has paused it: try again, park nothing",
    ServerState.ENDED: "it takes no more: hold what waits, a person decides; an end that was asked for has come",
    ServerState.ERROR: "the server's silence limit has ended it: hold what waits",
    ServerState.UNKNOWN: "wait and tell, park nothing",
}

SERVER_STATES = {
    "stream_active": ServerState.ACTIVE,
    "stream_paused": ServerState.WAIT,
    "stream_interrupted": ServerState.WAIT,
    "stream_finalizing": ServerState.ENDED,
    "stream_finalized": ServerState.ENDED,
    "pending": ServerState.ENDED,
    "running": ServerState.ENDED,
    "success": ServerState.ENDED,
    "stored": ServerState.ENDED,
    "stream_error": ServerState.ERROR,
    "error": ServerState.ENDED,  # of the analysis, which follows the stream
}


def server_state(pipeline_status: object) -> ServerState:
    """The meaning of a catalogue row's status; anything unknown means wait and tell."""
    return SERVER_STATES.get(str(pipeline_status).strip().lower().replace(" ", "_"), ServerState.UNKNOWN)
