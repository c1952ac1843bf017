"""Bad files for every source of frames: damaged, mislabelled, of absurd dimensions, links in circles, mixtures."""

import json
import os
import random
import shutil
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tools.fuzz.finding import Finding
from tools.fuzz.hostile import damaged, damaged_text, mutated, odds
from tools.fuzz.strain import Hangs, address_space, strained
from tools.fuzz.templates import VIDEOS, store, templates
from uploader.sources import Scaling, SourceError, open_source

NAME = "files"
_SUFFIXES = (
    ".tif",
    ".png",
    ".bmp",
    ".jpg",
    ".npy",
    ".npz",
    ".zarr",
    ".mkv",
    ".avi",
    ".mp4",
    ".TIFF",
    "",
    ".gif",
    ".zip",
    ".h5",
)
_SCALINGS = (None, None, None, "none", "shift8", "shift4", "minmax:0:4095", "minmax:-1e308:1e308")
_SIZES = (0, 1, 3, 4, 255, 65_535, 65_536, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_SETTINGS = (
    "brightness", "dark_every", "dark_frames", "dark_probability", "fps", "frames", "gain", "growth_period",
    "height", "kikuchi", "offset", "rpm", "seed",
)  # fmt: skip
_VALUES = (
    "0", "-1", "1", "40", "8192", "8193", "1e999", "nan", "inf", "none", "on", "9" * 5000, "9" * 30,
    "1e-320", "", "1+2",
)  # fmt: skip
_SHAPES = (
    "(10**9, 9, 9)", "(2, 3000000000, 3000000000)", "(-1, 4, 4)", "(1.5, 2, 2)", "(0, 4, 4)", "(4,)", "()",
    "4", "None", "(" * 3000 + ")" * 3000, "(True, 4, 4)", "(" + "1," * 70 + ")", "(4, 4, 4)",
    "(2**70, 1, 1)", "(9223372036854775807, 2, 2)", "(1000000000, 9, 9)",
)  # fmt: skip
_DTYPES = (
    "'|u1'", "'|u1'", "'|O'", "'<f8'", "'|V0'", "'<U0'", "'|S99'", "[('a','u1')]", "'>c16'", "'<m8[ns]'", "'?'",
    "'<f2'", "'xyz'", "9",
)  # fmt: skip
_FRAMES_MAX = 20
_SPARE_BYTES, _BYTES_MAX, _CPU_S_MAX = 4 << 30, 700 << 20, 20.0


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    for number in range(count) if only is None else (only,):
        chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
        made = folder / str(number)
        made.mkdir()
        what, source = chance.choices((_file, _zarr, _folder, _simulator), (12, 4, 3, 2))[0](chance, made)
        why = _tried(source, chance.choice(_SCALINGS))
        shutil.rmtree(made)
        what = f"{what}: {source[:200]!r}" if len(source) < 1000 else f"{what}: {len(source)} characters"  # noqa: PLR2004
        yield Finding(area=NAME, number=number, what=what, why=why) if why else None


def _tried(text: str, scaling: str | None) -> str | None:
    """Open and read a source; what it did wrong, if anything."""
    try:
        with warnings.catch_warnings(), address_space(_SPARE_BYTES), strained() as strain:
            warnings.simplefilter("ignore")
            found = _read(text, scaling)
    except Hangs as error:
        return str(error)
    except SourceError as error:
        told = f"{error}\n{error.hint}"
        return None if len(told) < 20_000 else f"its error has {len(told)} characters"  # noqa: PLR2004 - a screenful
    except Exception as error:  # noqa: BLE001 - any that came out is the finding
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    return found or strain.why(bytes_max=_BYTES_MAX, cpu_s_max=_CPU_S_MAX)


def _read(text: str, scaling: str | None) -> str | None:
    source = open_source(text, scaling=None if scaling is None else Scaling.parse(scaling))
    source.describe()
    frames = source.frames()
    for number, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.shape != source.shape or not frame.flags.c_contiguous:
            return f"frame {number} is {frame.dtype} {frame.shape}, not uint8 {source.shape}"
        if not frame.flags.writeable or 0 in frame.shape:
            return f"frame {number} of shape {frame.shape} is nobody's"
        if number == _FRAMES_MAX:
            frames.close()  # type: ignore[attr-defined] # every source of ours is a generator
            break
    return None


def _file(chance: random.Random, folder: Path) -> tuple[str, str]:
    """One file: damaged, cut off, of the wrong kind, or with absurd sizes in its header."""
    kind = chance.choice([name for name in templates() for _ in range(1 if name.endswith(VIDEOS) else 9)])
    data = templates()[kind]
    suffix = Path(kind).suffix
    match chance.randrange(10):
        case 0:
            data, what = data[: chance.randrange(len(data) + 1)], "cut off"
        case 1:
            suffix, what = chance.choice(_SUFFIXES), "of another kind"
        case 2:
            data, what = chance.choice((b"", b"\0" * len(data), b"\xff" * 999, chance.randbytes(2000))), "rubbish"
        case 3 | 4:
            data, what = _sized(chance, data), "absurd sizes"
        case 5 if kind.endswith(".npy"):
            data, what = _headed(chance), "hostile header"
        case 6:
            at = chance.randrange(len(data))
            data, what = data[:at] + damaged(chance, data[at:]), "damaged behind its head"
        case _:
            data, what = damaged(chance, data[:600]) + data[600:], "damaged"
    path = folder / f"a{suffix}"
    path.write_bytes(data)
    return f"{kind} {what}", str(path)


def _sized(chance: random.Random, data: bytes) -> bytes:
    """Numbers of two or four bytes replaced by others, in the first part, where sizes and offsets stand."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        layout = chance.choice(("<H", ">H", "<I", ">I", "<Q"))
        width = struct.calcsize(layout)
        at = chance.randrange(0, min(len(found) - width, 400), 2)
        number = chance.choice(_SIZES) if odds(chance, 0.7) else chance.getrandbits(32)
        found[at : at + width] = struct.pack(layout, number & ((1 << 8 * width) - 1))
    return bytes(found)


def _headed(chance: random.Random) -> bytes:
    """A ``.npy`` file whose header is a hostile dictionary."""
    order, more = chance.choice(("False", "True", "1", "None")), chance.choice(("", "", "'x': 0", "'\\ud800': 0"))
    fields = (
        f"'descr': {chance.choice(_DTYPES)}",
        f"'fortran_order': {order}",
        f"'shape': {chance.choice(_SHAPES)}",
    )
    header = f"{{{', '.join((*fields, more))}}}".encode()
    version = chance.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = len(header) if odds(chance, 0.8) else chance.choice(_SIZES)  # mostly right
    layout = "<H" if version == b"\x01\x00" else "<I"
    head = b"\x93NUMPY" + version + struct.pack(layout, length & (0xFFFF if layout == "<H" else 0xFFFFFFFF))
    return head + header + bytes(chance.choice((0, 64, 5000)))


def _zarr(chance: random.Random, folder: Path) -> tuple[str, str]:
    """A Zarr store with hostile metadata, or damaged chunks."""
    root = folder / chance.choice(("a.zarr", "a"))
    shutil.copytree(store(chance.choice((2, 3))), root)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    marks = [path for path in files if path.name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")]
    chosen = chance.choice(marks if odds(chance, 0.7) else files)  # mostly metadata
    match chance.randrange(4):
        case 0:
            chosen.write_bytes(damaged(chance, chosen.read_bytes()))
        case 1:
            chosen.unlink()
        case _ if chosen in marks:
            told = mutated(chance, json.loads(chosen.read_bytes()))
            if isinstance(told, dict) and odds(chance, 0.3):  # what reading rests on
                told["shape"] = [chance.choice((*_SIZES, -1, 1 << 62)) for _ in range(chance.choice((2, 3, 3, 4)))]
            chosen.write_text(json.dumps(told), "utf-8", "surrogatepass")
        case _:
            chosen.write_bytes(chance.choice((b"", b"\0" * 50)))
    return f"zarr {chosen.name}", str(root / chance.choice(("", "", "frames")))


def _folder(chance: random.Random, folder: Path) -> tuple[str, str]:
    """A folder of images, and of what is none."""
    root = folder / "mixed"
    root.mkdir()
    for number in range(chance.randint(0, 5)):
        name = damaged_text(chance, f"frame{number}.png")[:200].replace("/", "_").replace("\0", "_")
        path = root / os.fsdecode(name.encode("utf-8", "replace"))
        data = templates()[
            chance.choice(("grey.png", "grey16.png", "grey.bmp", "rgb.jpg", "stack.tif", "page.tif"))
        ]
        match chance.randrange(8):
            case 0 if not os.path.lexists(path):
                path.mkdir()
            case 1 if not os.path.lexists(path):
                path.symlink_to(chance.choice((path, root, Path("missing.png"), Path("..") / "mixed" / path.name)))
            case 2 if not os.path.lexists(path):
                os.mkfifo(path)
            case 3 if path.is_file():
                path.write_bytes(damaged(chance, data))
            case _ if not os.path.lexists(path):
                path.write_bytes(data)
    if odds(chance, 0.2):  # the source itself
        (folder / "loop.png").symlink_to("loop.png")
        return "a link to itself", str(folder / "loop.png")
    if odds(chance, 0.1):  # nobody will ever write there
        os.mkfifo(folder / "pipe.npy")
        return "a pipe", str(folder / "pipe.npy")
    return "mixed folder", str(root)


def _simulator(chance: random.Random, folder: Path) -> tuple[str, str]:
    """Settings of the simulator, and texts that name nothing."""
    if odds(chance, 0.3):  # no simulator at all
        return "a name", damaged_text(chance, chance.choice((str(folder), "sim:", "file:a.png", "http://x/", "")))
    pairs = [f"{name}={chance.choice(_VALUES)}" for name in chance.sample(_SETTINGS, chance.randint(1, 3))]
    text = "sim:" + ",".join(["width=40", *pairs])
    return "simulator", damaged_text(chance, text) if odds(chance, 0.2) else text  # at times
