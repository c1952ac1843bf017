"""Read a day of growths where they lie, and plot how the specular spot of each oscillates.

::

    python a_day_of_growths.py s3://growths --day 2026-11-26 --picture day.png

Nothing is copied first: frames are read from the folder or bucket as they are needed, by as many threads as there
are processors. Of each growth, a sample of its frames is read to find the spot, and then the spot of every frame.
Needs the extras ``analysis`` and, for a bucket, ``objects``.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import dask
import numpy as np
import xarray
from matplotlib.figure import Figure

STANDS_OUT = 50.0  # over the median of the spectrum; the highest peak of mere noise has about ten times that
FRAMES_MIN = 8
SAMPLE_FRAMES = 50  # enough for a mean image in which a spot stands out from the noise


@dataclass
class Growth:
    """A stream of the catalogue, and what is found in it.

    Attributes:
        region: rows and columns of the specular spot.
        seconds: of each frame, since the first one.
        intensity: the mean of the region in each frame, in grey levels.
        period_s: of the oscillation: the time in which one layer grows.
    """

    path: str
    name: str
    sample: str | None
    began: datetime
    frames: xarray.DataArray
    region: tuple[slice, slice]
    seconds: np.ndarray | None = None
    intensity: np.ndarray | None = None
    period_s: float | None = None


def growths_of(url: str, day: date) -> list[Growth]:
    """What began on a day, in UTC; opened, and hardly read."""
    asked = subprocess.run(
        [sys.executable, "-m", "uploader", "catalog", url, "--since", f"{day}", "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if not asked.stdout:
        sys.exit(asked.returncode)  # it has said why
    # Where something is damaged, the exit code is 1; what is not can be read all the same.
    told = json.loads(asked.stdout)
    found = []
    for stream in told["streams"]:
        if stream["state"] not in ("complete", "growing", "gaps") or not stream["frames"]:
            continue
        began = datetime.fromtimestamp(stream["began_at_ms"] / 1000, UTC)
        if began.date() != day:
            continue
        frames = open_frames(told["url"], stream["path"])
        found.append(
            Growth(stream["path"], stream["name"], stream["sample"], began, frames, specular_region(frames))
        )
    return sorted(found, key=lambda growth: growth.began)


def open_frames(url: str, path: str) -> xarray.DataArray:
    """The frames of a stream, ``uint8`` (time, y, x); none of them is read yet."""
    if url.startswith("file:"):
        store = Path(url2pathname(urlsplit(url).path), path)
    else:
        from obstore.store import from_url
        from zarr.storage import ObjectStore

        store = ObjectStore(from_url(f"{url}/{path}"), read_only=True)
    group = xarray.open_zarr(store, chunks=None)
    frames = group["frames"].assign_attrs(chunk_size=group.attrs["chunk_size"])
    # The frames of a chunk that never came have no time.
    return frames.isel(time=np.flatnonzero(~np.isnat(group["time"].values)))


def specular_region(frames: xarray.DataArray, side: int | None = None) -> tuple[slice, slice]:
    """Where the brightest spot of the mean image is, as rows and columns of a square around it."""
    side = side or max(3, frames.shape[1] // 30)
    # Only these frames are read: within a shard, each frame is compressed on its own.
    mean = frames[:: max(1, len(frames) // SAMPLE_FRAMES)].mean("time").values
    # A single hot pixel is no spot: the brightest square counts.
    summed = np.pad(mean, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    squares = summed[side:, side:] - summed[:-side, side:] - summed[side:, :-side] + summed[:-side, :-side]
    row, column = np.unravel_index(squares.argmax(), squares.shape)
    return slice(int(row), int(row) + side), slice(int(column), int(column) + side)


def read_all(growths: list[Growth]) -> None:
    """Fill in what is seen over time, of all growths side by side."""
    lazy = []
    for growth in growths:
        # A block for each shard: a block for each frame would be a hundred times the bookkeeping.
        blocks = growth.frames.chunk({"time": growth.frames.attrs["chunk_size"]})
        rows, columns = growth.region
        lazy.append(blocks[:, rows, columns].mean(("y", "x")))
    for growth, intensity in zip(growths, dask.compute(*lazy), strict=True):
        growth.seconds = (intensity["time"] - intensity["time"][0]).values / np.timedelta64(1, "s")
        growth.intensity = intensity.values
        growth.period_s = period_s(growth.seconds, growth.intensity)


def period_s(seconds: np.ndarray, intensity: np.ndarray) -> float | None:
    """The period of the strongest oscillation; ``None`` where none stands out, or it is seen less than twice."""
    if len(seconds) < FRAMES_MIN or not np.ptp(intensity):
        return None
    # At even steps, without its drift, and brought to nothing at both ends.
    even = np.linspace(seconds[0], seconds[-1], len(seconds))
    values = np.interp(even, seconds, intensity)
    values -= np.polynomial.Polynomial.fit(even, values, 2)(even)
    padded = 16 * len(values)
    power = np.abs(np.fft.rfft(values * np.hanning(len(values)), padded)) ** 2
    frequency = np.fft.rfftfreq(padded, even[1] - even[0])
    is_seen = frequency >= 2 / seconds[-1]
    power, frequency = power[is_seen], frequency[is_seen]
    highest = power.argmax()
    # At the edge it is no peak, but the shoulder of something slower.
    if highest == 0 or power[highest] < STANDS_OUT * np.median(power):
        return None
    return float(1 / frequency[highest])


def plot(growths: list[Growth], picture: str) -> None:
    """A curve for each growth, one below the other."""
    figure = Figure(figsize=(8, 1.2 + 1.5 * len(growths)), layout="constrained")
    axes = figure.subplots(len(growths), 1, squeeze=False)
    for growth, (ax,) in zip(growths, axes, strict=True):
        ax.plot(growth.seconds, growth.intensity, linewidth=0.9)
        layer = "no oscillation" if growth.period_s is None else f"one layer in {growth.period_s:.2f} s"
        sample = f", {growth.sample}" if growth.sample else ""
        # Names are other people's: a dollar sign in one is no formula.
        ax.set_title(
            f"{growth.began:%H:%M} UTC  {growth.name}{sample}: {layer}", loc="left", fontsize=9, parse_math=False
        )
        ax.set_ylabel("grey levels")
    axes[-1][0].set_xlabel("seconds since the first frame")
    figure.savefig(picture)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Plot the specular spot's oscillation of a day of growths.")
    parser.add_argument("url", help="a folder, or s3://BUCKET/PREFIX")
    parser.add_argument("--day", type=date.fromisoformat, default=datetime.now(UTC).date(), help="in UTC")
    parser.add_argument("--region", help="of the specular spot: FIRST_ROW,FIRST_COLUMN,SIDE in pixels")
    parser.add_argument("--picture", default="a-day-of-growths.png")
    asked = parser.parse_args()
    growths = growths_of(asked.url, asked.day)
    if not growths:
        sys.exit(f"No growth began on {asked.day} below {asked.url}.")
    if asked.region:
        row, column, side = map(int, asked.region.split(","))
        for growth in growths:
            growth.region = slice(row, row + side), slice(column, column + side)
    read_all(growths)
    for growth in growths:
        layer = "no oscillation" if growth.period_s is None else f"{growth.period_s:7.2f} s a layer"
        print(f"{growth.began:%H:%M} {len(growth.frames):8,} frames {layer}  {growth.path}")
    plot(growths, asked.picture)
    print(f"The picture is {asked.picture}")


if __name__ == "__main__":
    main()
