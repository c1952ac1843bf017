"""Draw the picture of docs/how-to/a-day-of-growths.md: ``python tools/draw_growths.py``.

A day of simulated growths is recorded and delivered to a folder, by a layout; the example that the page walks
through reads it there. The picture is the only thing that is kept.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from uploader import RHEEDStreamer
from uploader.sources import Simulator, SimulatorSettings

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "a_day_of_growths.py"
PICTURE = ROOT / "docs" / "pictures" / "a-day-of-growths.png"
LAYOUT = "garching/mbe-3/{date}/{stream}"
DAY = "2026-11-26"
FPS = 10.0
_CHUNK_SIZE = 40


@dataclass(frozen=True)
class Planned:
    """A growth to be simulated: when it begins, and how long a layer takes."""

    name: str
    sample: str
    began: datetime
    period_s: float
    seconds: float = 60.0


def _at(hour: int, minute: int) -> datetime:
    return datetime(2026, 11, 26, hour, minute, tzinfo=UTC)


GROWTHS = (
    Planned("GaAs buffer", "wafer 7", _at(8, 5), 8.0),
    Planned("AlAs", "wafer 7", _at(9, 40), 5.5),
    Planned("InGaAs", "wafer 8", _at(13, 20), 3.7),
    Planned("GaAs cap", "wafer 8", _at(16, 2), 10.0),
)


def record(
    growths: Sequence[Planned], spool: Path, destination: str | Path, *, height: int = 150, width: int = 240
) -> None:
    """Record growths as an instrument does, and wait until they are delivered."""
    with RHEEDStreamer(spool_dir=spool, destination=destination, layout=LAYOUT, worker="thread") as streamer:
        for seed, growth in enumerate(growths):
            camera = Simulator(
                SimulatorSettings(
                    height=height,
                    width=width,
                    fps=FPS,
                    frames=round(growth.seconds * FPS),
                    growth_period_s=growth.period_s,
                    seed=seed,
                )
            )
            stream = streamer.initialize(
                FPS, 0.0, _CHUNK_SIZE, stream_name=growth.name, physical_sample=growth.sample
            )
            frames = list(camera.frames())
            for chunk_idx, first in enumerate(range(0, len(frames), _CHUNK_SIZE)):
                began_ms = growth.began.timestamp() * 1000 + first * 1000 / FPS
                chunk = np.stack(frames[first : first + _CHUNK_SIZE])
                streamer.push(stream, chunk_idx, chunk, capture_start_ms_utc=began_ms)
            report = streamer.finalize(stream, drain_timeout_s=60)
            if not report.finalized:
                raise SystemExit(f"{growth.name} was not delivered")


def main() -> None:
    """Draw it anew."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "growths")
        record(GROWTHS, Path(made, "spool"), folder)
        subprocess.run([sys.executable, EXAMPLE, folder, "--day", DAY, "--picture", PICTURE], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
