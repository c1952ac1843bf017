"""Run a program on the logging file system and hand back its log."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

from tools.powerloss.filesystem import NOTES, serve
from tools.powerloss.volume import ROOT, Image, Op

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT = "POWERLOSS_WITHOUT"
"""The environment variable that tells the workload which durable step to leave out."""

_PATIENCE_S = 120.0


class FuseUnavailable(RuntimeError):
    """A FUSE file system cannot be mounted here: it needs /dev/fuse, root, Debian's ``fuse3`` and ``mfusepy``."""


class WorkloadFailed(RuntimeError):
    """The program on the mount ended with an error although nothing failed; its own words follow."""


def record(
    program: str, *, without: str = "", base: list[Op] | None = None, crash_at: int | None = None
) -> list[Op]:
    """Every operation that a program makes on a fresh mount, in order, with its notes.

    Args:
        program: a workload of `tools.powerloss.steps`, or ``reopen``.
        without: the durable step to leave out, to see that its absence is found.
        base: what the volume holds at the start; see `base_of`. It is the beginning of the log.
        crash_at: kill the program at the operation of this number instead of letting it end.

    Raises:
        FuseUnavailable: there is no mount.
        WorkloadFailed: the program failed.
    """
    require_fuse()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="powerloss-") as folder, closing(here):
        server = context.Process(target=serve, args=(folder, there, base or [], crash_at))
        server.start()
        there.close()
        try:
            _receive(here)
            try:
                ended = _run(program, Path(folder), without)
            finally:
                subprocess.run(["umount", folder], check=True)
            log = _receive(here)
        finally:
            server.join(_PATIENCE_S)
            if server.is_alive():
                server.kill()
                server.join()
            server.close()
    if crash_at is None and ended.returncode != 0:
        raise WorkloadFailed(ended.stderr)
    assert isinstance(log, list)
    return log


def base_of(image: Image) -> list[Op]:
    """The operations that build an image, all of it durable: where a program goes on after a cut."""
    inos: dict[str, int] = {"": ROOT}
    made: dict[int, int] = {}
    ops = []
    ino = 1000
    for path, old in image.names.items():
        parent, _, name = path.rpartition("/")
        if old is not None and old in made:
            # Two names of one file: what a rename across directories may leave.
            ops.append(Op(kind="rename", ino=made[old], parent=inos[parent], to_parent=inos[parent], to_name=name))
            continue
        ino += 1
        if old is None:
            inos[path] = ino
            ops.append(Op(kind="mkdir", ino=ino, parent=inos[parent], name=name))
            continue
        made[old] = ino
        ops.append(Op(kind="create", ino=ino, parent=inos[parent], name=name))
        ops.append(Op(kind="write", ino=ino, data=image.contents[old]))
        ops.append(Op(kind="fsync", ino=ino))
    return ops + [Op(kind="fsync_dir", ino=directory) for directory in inos.values()]


def require_fuse() -> None:
    """Whether a file system can be mounted here.

    Raises:
        FuseUnavailable: no; it says what is missing.
    """
    if not Path("/dev/fuse").exists():
        raise FuseUnavailable("there is no /dev/fuse; load the fuse module, or pass --device /dev/fuse")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise FuseUnavailable("mounting needs root")
    try:
        import mfusepy  # type: ignore[import-untyped] # noqa: F401, PLC0415 - only asked whether it is there
    except (ImportError, OSError) as error:
        raise FuseUnavailable(f"mfusepy cannot be used: {error}; install fuse3 and mfusepy") from error


def _receive(pipe: Connection) -> object:
    if not pipe.poll(_PATIENCE_S):
        raise FuseUnavailable("the file system does not answer")
    try:
        return pipe.recv()
    except EOFError:
        raise FuseUnavailable("the file system could not be mounted; its process says why") from None


def _run(program: str, mount: Path, without: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.powerloss.workload", program, str(mount / "spool"), str(mount / NOTES)],
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, WITHOUT: without},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
