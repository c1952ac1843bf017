"""Files for a monitoring system: alert rules for Prometheus, a dashboard for Grafana.

They name what is in `uploader.metrics.names`, and come with the version that shows it. ``framespool monitoring``
writes them to a folder.
"""

from pathlib import Path

FILES = tuple(Path(__file__).with_name(name) for name in ("alerts.yml", "dashboard.json"))
