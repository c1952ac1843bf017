"""What a worker shows and tells of its spools while it delivers: metrics at a port or in a file, and a webhook.

What somebody has just typed and cannot be had is refused. What is configured never keeps a worker from delivering:
it is told in the log, and tried again where that can help.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from uploader.destinations.base import Destination
from uploader.errors import UploaderError
from uploader.kinds import Listening
from uploader.metrics import require_client
from uploader.metrics.tries import Counted, Tries
from uploader.onlooking import Watched
from uploader.resolving import Resolved, Sources, SpoolSettings, resolve
from uploader.webhook import Webhook
from uploader.webhook_url import WebhookUrl

_log = logging.getLogger(__name__)


class Outlets:
    """Begun when the block is entered, and ended with it.

    Args:
        sources: of the settings ``metrics``, ``metrics_file`` and ``webhook``.
        found: each spool with each of its destinations.

    Raises:
        UploaderError, OSError: something that was typed cannot be had.
    """

    def __init__(self, sources: Sources, found: Sequence[SpoolSettings]) -> None:
        self._port, self._file, self._webhook = (
            resolve(name, sources) for name in ("metrics", "metrics_file", "webhook")
        )
        self._watched = watched(found)
        self._names = {one.root: one.name for one in self._watched}
        self._tries = Tries()
        self._posts: Callable[[], Mapping[str, int]] = dict
        self._ends = ExitStack()

    def counted(self, spool: SpoolSettings, destination: Destination) -> Destination:
        """The destination, with its tries counted for the metrics."""
        return Counted(destination, self._names[spool.root], self._tries)

    def __enter__(self) -> Self:
        try:
            self._begin(self._webhook, self._begin_webhook)
            self._begin(self._port, self._begin_metrics)
            self._begin(self._file, self._begin_metrics)
        except BaseException:
            self._ends.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _begin(self, wish: Resolved, begin: Callable[[Resolved], None]) -> None:
        if wish.value is None:
            return
        try:
            begin(wish)
        except (UploaderError, OSError) as error:
            if wish.origin == "flag":
                raise
            hint = getattr(error, "hint", "")
            _log.error("%s, from %s: %s. %s Deliveries go on.", wish.setting.name, wish.origin, error, hint)

    def _begin_webhook(self, wish: Resolved) -> None:
        assert isinstance(wish.value, WebhookUrl)
        webhook = Webhook(wish.value, self._watched)
        webhook.start()
        self._ends.callback(webhook.close)
        self._posts = webhook.posts

    def _begin_metrics(self, wish: Resolved) -> None:
        require_client()
        # Who shows none need not have Prometheus' client.
        from uploader.metrics.families import SpoolCollector  # noqa: PLC0415
        from uploader.metrics.figures import Reader  # noqa: PLC0415
        from uploader.metrics.serving import Endpoint, TextFile  # noqa: PLC0415

        reader = Reader(self._watched)
        self._ends.callback(reader.close)
        collector = SpoolCollector(reader, self._tries, self._posts)
        outlet: Endpoint | TextFile
        if isinstance(wish.value, Listening):
            outlet = Endpoint(wish.value, collector)
        else:
            assert isinstance(wish.value, Path)
            outlet = TextFile(wish.value, collector)
        outlet.start(patiently=wish.origin != "flag")
        self._ends.callback(outlet.close)


def watched(found: Iterable[SpoolSettings]) -> list[Watched]:
    """Each spool once, with all the destinations that it is delivered to, and a name that no other has."""
    by_root: dict[Path, list[SpoolSettings]] = {}
    for one in found:
        by_root.setdefault(one.root, []).append(one)
    names = [several[0].of_spool for several in by_root.values()]
    return [
        Watched(
            name=several[0].of_spool if names.count(several[0].of_spool) == 1 else str(root),
            root=root,
            limits=several[0].limits,
            destinations=tuple(dict.fromkeys(one.endpoint for one in several)),
        )
        for root, several in by_root.items()
    ]
