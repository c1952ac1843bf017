"""``framespool monitoring``: the files that a monitoring system wants."""

from pathlib import Path

import click

from uploader.cli import screen
from uploader.cli.common import json_option, plain_errors
from uploader.monitoring import FILES


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
@plain_errors
def command(folder: Path, *, as_json: bool) -> None:
    """Write alert rules for Prometheus and a dashboard for Grafana to FOLDER.

    They fit the metrics that 'framespool worker --metrics PORT' of this version shows. Files of these names that
    are there already are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / file.name for file in FILES]
    for file, path in zip(FILES, written, strict=True):
        path.write_bytes(file.read_bytes())
    if as_json:
        screen.print_json({"files": [str(path) for path in written]})
        return
    alerts, dashboard = written
    screen.say(f"Alert rules  {alerts}: name the file under rule_files in prometheus.yml")
    screen.say(f"Dashboard    {dashboard}: import it in Grafana")
