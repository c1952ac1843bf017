"""What monitoring is shown of spools and their worker: an endpoint for Prometheus, or a file for node_exporter.

::

    spool on disk ──read──▶ figures ──▶ families ──▶ serving: http://ADDRESS:PORT/metrics
    worker: tries counted in memory ──────┘      └─▶ textfile: PATH, replaced whole

Prometheus' own client makes the text; it is an extra, imported only here, and only when it is asked for.
"""

import importlib.util

from uploader.errors import ConfigurationError


def require_client() -> None:
    """See to it that the text can be made.

    Raises:
        ConfigurationError: Prometheus' client is not installed.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "metrics need the package prometheus-client, which is not installed",
            hint="Install it with: pip install 'framespool[metrics]'",
        )
