"""Mounting it, arming a fault and asking what it saw."""

import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tools.failing_disk.faults import Fault
from tools.failing_disk.filesystem import CONTROL, serve
from tools.powerloss.record import require_fuse

_PATIENCE_S = 60.0
_SEEN_MAX = 1 << 24


class FailingDisk:
    """A mount.

    Attributes:
        mount: what is here may fail.
        behind: the same, without the faults.
    """

    def __init__(self, mount: Path, behind: Path) -> None:
        self.mount = mount
        self.behind = behind

    def arm(self, fault: Fault | None) -> None:
        """Let operations fail from now on, or none any more; the counting begins anew."""
        self._control(os.O_WRONLY, (fault.to_json() if fault else "\n").encode())

    def seen(self) -> list[str]:
        """What was asked for since then: ``kind path`` or ``kind path failed``."""
        return self._control(os.O_RDONLY, b"").decode().splitlines()

    def _control(self, flags: int, said: bytes) -> bytes:
        fd = os.open(self.mount / CONTROL, flags)
        try:
            if said:
                os.write(fd, said)
                return b""
            content = b""
            while piece := os.pread(fd, _SEEN_MAX, len(content)):
                content += piece
            return content
        finally:
            os.close(fd)


@contextmanager
def failing_disk(folder: Path) -> Iterator[FailingDisk]:
    """Mount one, and unmount it at the end.

    Args:
        folder: what is behind it; it must exist.

    Raises:
        FuseUnavailable: there is no mount.
    """
    require_fuse()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="failing-") as mount, closing(here):
        server = context.Process(target=serve, args=(mount, str(folder), there))
        server.start()
        there.close()
        try:
            if not here.poll(_PATIENCE_S) or here.recv() != "ready":
                raise OSError("the file system could not be mounted; its process says why")
            try:
                yield FailingDisk(Path(mount), folder)
            finally:
                subprocess.run(["umount", "--lazy", mount], check=True)
        finally:
            server.join(_PATIENCE_S)
            if server.is_alive():
                server.kill()
                server.join()
            server.close()
