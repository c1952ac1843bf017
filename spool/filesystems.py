"""What kind of file system a folder is on, and whether a spool may begin there.

* On a network share, locks and the order of fsyncs are what the share makes of them. SQLite says of itself that
  it cannot be relied on there, and the promise of ``push()`` rests on both.
* FAT and exFAT have no journal: a power cut in the middle of a rename can cost the directory, and with it
  chunks that were spooled long before.
* A file system in memory is gone with the power.

A new spool is refused on the first two, and warned of on the third. A spool that is there already opens
everywhere, so that nothing is ever locked in. What cannot be told is taken for sound. ADR 0012 has the reasons.
"""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath, PurePosixPath

from spool.errors import UnsafeFileSystem


class Kind(StrEnum):
    """What matters about a file system here."""

    LOCAL = "local"
    NETWORK = "network"
    FAT = "fat"
    MEMORY = "memory"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """The file system under a folder.

    Attributes:
        type_name: as the operating system calls it, in lower case; empty when it does not say.
        mount_point: where it begins.
    """

    type_name: str
    mount_point: str
    kind: Kind


_KINDS = {
    Kind.LOCAL: "ext3 ext4 xfs btrfs zfs f2fs jfs bcachefs ntfs ntfs3 refs apfs hfs",
    Kind.NETWORK: "nfs nfs4 nfs3 cifs smb3 smbfs afpfs webdav ncpfs afs ceph lustre gpfs beegfs 9p vboxsf"
    " prl_fs fuse.sshfs fuse.rclone fuse.s3fs fuse.gcsfuse fuse.goofys fuse.glusterfs fuse.cephfs fuse.davfs"
    " fuse.davfs2 fuse.curlftpfs fuse.smbnetfs fuse.gvfsd-fuse fuse.vmhgfs-fuse fuse.grpcfuse fuse.onedriver",
    Kind.FAT: "vfat msdos exfat fat fat12 fat16 fat32 fuse.exfat fuse.exfat-fuse",
    Kind.MEMORY: "tmpfs ramfs",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_WHY = {
    Kind.NETWORK: "is a network share, where locks and the order of writes cannot be relied on",
    Kind.FAT: "has no journal, so that a power cut can cost what was spooled before",
    Kind.MEMORY: "is in memory only, and gone with the power",
}
_DRIVE_REMOTE, _DRIVE_RAMDISK = 4, 6
_MAC_MOUNT = re.compile(r"(?P<source>.*?) on (?P<point>/.*) \((?P<options>[^()]*)\)")

_log = logging.getLogger(__name__)


def file_system_of(folder: Path) -> FileSystem:
    """The file system that a folder is on, or will be on once it is made; of kind `Kind.UNKNOWN` in doubt."""
    try:
        # Links are followed first: what counts is where the bytes will lie.
        there = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.exists())
        return _asked(there)
    except (OSError, StopIteration, ValueError, subprocess.SubprocessError):
        return _unknown(folder)


def require_safe(folder: Path, *, is_new: bool, accepted: bool) -> None:
    """Refuse to let a spool begin where its promises cannot be kept; say it where that is taken into account.

    Raises:
        UnsafeFileSystem: see `refused`.
    """
    there = file_system_of(folder)
    doubts = objection(there)
    if doubts is None or (there.kind is Kind.MEMORY and not is_new):
        return
    if refused(there, is_new=is_new, accepted=accepted):
        raise UnsafeFileSystem(
            f"no spool is made in {folder}: {doubts}", type_name=there.type_name, mount_point=there.mount_point
        )
    _log.warning("the spool in %s is not safe where it is: %s", folder, doubts)


def refused(there: FileSystem, *, is_new: bool, accepted: bool) -> bool:
    """Whether a spool may not be opened there.

    Args:
        there: where its folder is.
        is_new: nothing has been spooled in it yet.
        accepted: somebody takes the risk.
    """
    return is_new and not accepted and there.kind in (Kind.NETWORK, Kind.FAT)


def objection(there: FileSystem) -> str | None:
    """Why a spool is not safe there, as a sentence without its stop; ``None`` when nothing speaks against it."""
    why = _WHY.get(there.kind)
    return None if why is None else f"{there.mount_point} ({there.type_name or 'no name'}) {why}"


# What each operating system says, as pure functions of it -----------------------------------------------------


def from_mountinfo(mounts: str, folder: PurePath, *, device: str) -> FileSystem:
    """The file system of a folder by Linux's ``/proc/self/mountinfo``.

    Args:
        mounts: the text of that file.
        folder: absolute, with links followed.
        device: its ``st_dev`` as ``major:minor``.

    Source: proc_pid_mountinfo(5).
    """
    # By device first: a mount below may be hidden by a later one above it. Btrfs and overlays number their
    # files otherwise than their mounts, and there the path alone has to do.
    best = max(_mountinfo(mounts, folder), key=lambda one: (one[0] == device, one[1], one[2]), default=None)
    return _unknown(folder) if best is None else _named(best[4], best[3])


def _mountinfo(mounts: str, folder: PurePath) -> Iterator[tuple[str, int, int, str, str]]:
    """Device, depth, place in the text, mount point and type of every mount that is above the folder."""
    for place, line in enumerate(mounts.splitlines()):
        head, _, tail = line.partition(" - ")
        fields, kinds = head.split(" "), tail.split(" ")
        if len(fields) < 6 or not kinds[0]:  # noqa: PLR2004 - see the manual page
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        if folder.is_relative_to(point):
            yield fields[2], len(PurePosixPath(point).parts), place, point, kinds[0]


def from_mount(mounts: str, folder: PurePath) -> FileSystem:
    """The file system of a folder by what macOS's ``mount`` prints: ``SOURCE on POINT (TYPE, local, ...)``."""
    found = filter(None, map(_MAC_MOUNT.fullmatch, mounts.splitlines()))
    above = [one for one in found if folder.is_relative_to(one["point"])]
    if not above:
        return _unknown(folder)
    best = max(enumerate(above), key=lambda one: (len(PurePosixPath(one[1]["point"]).parts), one[0]))[1]
    return _named(best["options"].partition(",")[0], best["point"])


def from_windows(drive_type: int, type_name: str, volume: str) -> FileSystem:
    """The file system by what Windows says of its volume.

    Args:
        drive_type: what ``GetDriveTypeW`` answers.
        type_name: of ``GetVolumeInformationW``: ``NTFS``, ``FAT32``, ``exFAT``; empty when it did not say.
        volume: where it begins: a drive, a folder that a drive is mounted in, or a share.
    """
    said = _named(type_name, volume)
    # The drive first: a share says NTFS when the disk at its far end has it.
    kind = {_DRIVE_REMOTE: Kind.NETWORK, _DRIVE_RAMDISK: Kind.MEMORY}.get(drive_type, said.kind)
    return replace(said, kind=kind)


def _named(type_name: str, mount_point: str) -> FileSystem:
    name = type_name.lower()
    return FileSystem(type_name=name, mount_point=mount_point, kind=_KIND_OF.get(name, Kind.UNKNOWN))


def _unknown(folder: PurePath) -> FileSystem:
    return FileSystem(type_name="", mount_point=str(folder), kind=Kind.UNKNOWN)


def _asked(there: Path) -> FileSystem:
    """What this operating system says of a folder that exists."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - Windows only

        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        longest = 32_768
        volume = ctypes.create_unicode_buffer(longest)
        if not kernel32.GetVolumePathNameW(str(there), volume, longest):
            raise ctypes.WinError(ctypes.get_last_error())
        name = ctypes.create_unicode_buffer(261)
        if not kernel32.GetVolumeInformationW(volume.value, None, 0, None, None, None, name, len(name)):
            name.value = ""  # a share may not say, and what kind of drive it is counts all the same
        return from_windows(int(kernel32.GetDriveTypeW(volume.value)), name.value, volume.value)
    elif sys.platform == "darwin":  # noqa: RET505 - so that type checkers follow each platform
        said = subprocess.run(["/sbin/mount"], capture_output=True, check=True, timeout=10)
        return from_mount(said.stdout.decode("utf-8", "surrogateescape"), there)
    else:
        mounts = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
        device = there.stat().st_dev
        return from_mountinfo(mounts, there, device=f"{os.major(device)}:{os.minor(device)}")
