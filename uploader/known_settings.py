"""Every setting there is, one line each: the file, the environment, the options and the documents follow from it.

A new one joins `SETTINGS`; ``framespool worker`` and ``framespool config`` then have its option, the file its
name, ``docs/configuration.md`` its row. How a worth is read and checked is its `Kind`, a line of `uploader.kinds`.
"""

from dataclasses import dataclass

from spool import DEFAULT_MIN_FREE_BYTES, DEFAULT_RETENTION_S
from uploader import kinds
from uploader.kinds import Kind
from uploader.layout import DEFAULT_LAYOUT

DEFAULT_ENDPOINT = "https://api.atomscale.ai"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One thing that can be set.

    Attributes:
        name: in the file.
        kind: how its worth is read and checked.
        default: its worth when nobody sets it; ``None`` for none.
        says: what it is, for people.
        of_spool: each ``[[spool]]`` may have its own.
        variable: in the environment; made from the name where it is not given.
        option: on the command line; likewise.
    """

    name: str
    kind: Kind
    default: object
    says: str
    of_spool: bool = False
    variable: str = ""
    option: str = ""

    def __post_init__(self) -> None:
        # A frozen value is completed only here.
        object.__setattr__(self, "variable", self.variable or f"FRAMESPOOL_{self.name.upper()}")
        object.__setattr__(self, "option", self.option or f"--{self.name.replace('_', '-')}")


# fmt: off
SETTINGS = (
    Setting(name="endpoint", kind=kinds.URL, default=DEFAULT_ENDPOINT, of_spool=True, variable="AS_API_ENDPOINT",
            says="The server's base URL, or file:///FOLDER, or s3://BUCKET."),
    Setting(name="also", kind=kinds.ADDRESSES, default=None, of_spool=True,
            says="Further destinations that get everything too, with spaces between them; left out where an"
            " endpoint or a destination is named on the command line or in a script."),
    Setting(name="layout", kind=kinds.LAYOUT, default=DEFAULT_LAYOUT, of_spool=True,
            says="Where in a folder or a bucket a stream lies: text with {date}, {year}, {month}, {sample},"
            " {project}, {host}, and {stream} in the last part."),
    Setting(name="spool_dir", kind=kinds.FOLDER, default=None, variable="ATOMSCALE_SPOOL_DIR", option="--spool",
            says="The spool folder, or the name of a [[spool]]."),
    Setting(name="max_bytes", kind=kinds.BYTES, default=None, of_spool=True,
            says="The most that shards may occupy on disk."),
    Setting(name="min_free_bytes", kind=kinds.BYTES, default=DEFAULT_MIN_FREE_BYTES, of_spool=True,
            says="What stays free on the disk for everybody else."),
    Setting(name="retention_s", kind=kinds.RETENTION, default=DEFAULT_RETENTION_S, of_spool=True,
            says="How long acknowledged chunks are kept; 'never' deletes none unless the disk presses."),
    Setting(name="open_timeout_s", kind=kinds.SECONDS, default=5.0,
            says="How long the beginning of a stream waits for the server, before it begins without."),
    Setting(name="on_closed", kind=kinds.ON_CLOSED, default="continue",
            says="What waits when the server has ended a stream for its silence goes into a further one there, or"
            " waits for a person."),
    Setting(name="max_rate", kind=kinds.RATE, default="unlimited",
            says="The most that all uploads together may send: 2MB/s, or 2MB/s,18:00-07:00=unlimited."),
    Setting(name="streams_at_once", kind=kinds.AT_ONCE, default=4,
            says="How many streams may be sent side by side; those being recorded go first."),
    Setting(name="finalize_orphans_after", kind=kinds.DURATION, default=None,
            says="The worker ends streams whose producer has been gone for so long: 90s, 15min, 1h or 2d."),
    Setting(name="verbosity", kind=kinds.VERBOSITY, default=3,
            says="How much the worker tells: 0 (silent) to 4 (everything)."),
    Setting(name="log_file", kind=kinds.FILE, default=None,
            says="Where the worker writes what it tells, instead of the terminal."),
    Setting(name="log_bytes_max", kind=kinds.LOG_BYTES, default=5 << 20,
            says="A log file that would grow beyond this is set aside and a new one begun."),
    Setting(name="logs_max", kind=kinds.COUNT, default=5,
            says="How many log files there are at most, the current one included."),
    Setting(name="log_json", kind=kinds.FLAG, default=False,
            says="The log is one JSON object a line."),
    Setting(name="metrics", kind=kinds.LISTENING, default=None,
            says="Where the worker answers Prometheus: a port of this machine, or an address and a port."),
    Setting(name="metrics_file", kind=kinds.PROM_FILE, default=None,
            says="Where the worker writes the same for node_exporter: a file that ends in .prom."),
    Setting(name="webhook", kind=kinds.WEBHOOK, default=None,
            says="What happens is posted to this URL. One that is a secret, as those of chats are, belongs into"
            " the variable, or into a private file: @FILE."),
)
# fmt: on
BY_NAME = {one.name: one for one in SETTINGS}
OF_SPOOL = tuple(one.name for one in SETTINGS if one.of_spool)
