"""Alert rules and dashboard, held against Prometheus' own tool.

``python tools/check_monitoring.py PROMTOOL``: the rules are checked and their tests run; every query of the
dashboard is checked as if it were a rule; and the text of a scrape is linted.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from spool import Spool
from spool.testing import some_frames, some_settings
from uploader.metrics.families import SpoolCollector
from uploader.metrics.figures import Reader
from uploader.metrics.tries import Tries
from uploader.monitoring import FILES
from uploader.onlooking import Watched

TESTS = Path(__file__).parents[1] / "tests" / "monitoring" / "alerts_test.yml"
# What Grafana puts in the place of its own variables.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """Every query of a dashboard, as Prometheus would get it."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for variable, worth in _VARIABLES.items():
                text = text.replace(variable, worth)
            yield re.sub(r"\$[a-z_]+", ".*", text)


def main(promtool: str) -> None:
    """Check everything; the exit code of the first check that fails."""
    alerts, dashboard = FILES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (alerts, TESTS):
            shutil.copy(file, folder)
        shown = queries(json.loads(dashboard.read_text("utf-8")))
        rules = [{"record": f"dashboard:query:{number}", "expr": one} for number, one in enumerate(shown)]
        # JSON is YAML.
        (folder / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        _run([promtool, "check", "rules", alerts.name, "queries.yml"], folder)
        _run([promtool, "test", "rules", TESTS.name], folder)
        _run([promtool, "check", "metrics"], folder, text=_scrape(folder / "spool"))


def _scrape(root: Path) -> bytes:
    with Spool(root) as spool:
        spool.push(spool.open_stream(some_settings()).stream_id, 0, some_frames())
    registry = CollectorRegistry(auto_describe=False)
    reader = Reader([Watched(name="mbe1", root=root, limits=None, destinations=())])
    registry.register(SpoolCollector(reader, Tries()))
    try:
        return generate_latest(registry)
    finally:
        reader.close()


def _run(command: list[str], folder: Path, *, text: bytes | None = None) -> None:
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=folder, input=text, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
