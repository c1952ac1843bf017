"""Where a spool may begin: what each operating system says, and what is made of it."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from spool import Limits, Spool, UnsafeFileSystem, filesystems
from spool.filesystems import FileSystem, Kind, file_system_of, from_mount, from_mountinfo, from_windows
from spool.testing import check_invariants, some_frames, some_settings

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
40 27 0:44 / /mnt/lab\040share rw,relatime shared:200 master:3 - nfs4 10.0.0.2:/export rw,vers=4.2,hard
41 27 0:45 / /mnt/nas rw,relatime - cifs //nas/data rw,vers=3.1.1,cache=strict
42 27 8:17 / /media/usb rw,nosuid,nodev - vfat /dev/sdb1 rw,fmask=0022
43 27 8:33 / /media/camera rw,nosuid - exfat /dev/sdc1 rw,iocharset=utf8
44 27 0:50 / /home/ada/far rw,nosuid - fuse.sshfs ada@far:/data rw,user_id=1000
45 27 0:51 / /home/ada/cloud rw,nosuid - fuse.rclone lab: rw,user_id=1000
46 27 0:52 / /srv/judge rw,nosuid - fuse.Forgetful Forgetful rw,user_id=0
47 27 8:49 / /media/windows rw - fuseblk /dev/sdd1 rw,user_id=0
48 27 0:30 /@home /data rw,relatime - btrfs /dev/nvme0n1p2 rw,subvol=/@home
49 27 0:60 / /var/lib/containers/merged rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
50 27 0:61 / /mnt/c rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\
51 27 0:62 / /run/lab rw,nosuid - tmpfs tmpfs rw,size=1g
52 27 0:63 / /data/hidden rw - nfs far:/x rw
53 27 8:65 / /data/hidden rw - xfs /dev/sde1 rw
a line that is none
"""

MAC = """
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
//ada@nas._smb._tcp.local/lab%20data on /Volumes/lab data (smbfs, nodev, nosuid, mounted by ada)
10.0.0.2:/export on /Volumes/export (nfs, nodev, nosuid, mounted by ada)
/dev/disk4s1 on /Volumes/STICK (msdos, local, nodev, nosuid, noowners, noatime)
/dev/disk5s2 on /Volumes/Card on it (exfat, local, nodev, nosuid, noowners)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
ada@far:/data on /Users/ada/far (macfuse, nodev, nosuid, synchronous, mounted by ada)
"""


# What is told of where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "device", "type_name", "kind"),
    [
        ("/home/ada/spool", "254:0", "ext4", Kind.LOCAL),
        ("/mnt/lab share/a/spool", "0:44", "nfs4", Kind.NETWORK),
        ("/mnt/nas", "0:45", "cifs", Kind.NETWORK),
        ("/mnt/nas-not", "254:0", "ext4", Kind.LOCAL),
        ("/media/usb/spool", "8:17", "vfat", Kind.FAT),
        ("/media/camera/spool", "8:33", "exfat", Kind.FAT),
        ("/home/ada/far/spool", "0:50", "fuse.sshfs", Kind.NETWORK),
        ("/home/ada/cloud", "0:51", "fuse.rclone", Kind.NETWORK),
        ("/srv/judge/spool", "0:52", "fuse.forgetful", Kind.UNKNOWN),
        ("/media/windows", "8:49", "fuseblk", Kind.UNKNOWN),
        # Btrfs numbers the files of a subvolume otherwise than its mount.
        ("/data/spool", "0:31", "btrfs", Kind.LOCAL),
        ("/var/lib/containers/merged/spool", "0:60", "overlay", Kind.UNKNOWN),
        ("/mnt/c/Users/ada", "0:61", "9p", Kind.NETWORK),
        ("/run/lab/spool", "0:62", "tmpfs", Kind.MEMORY),
        # Of two mounts at one place the later one is seen.
        ("/data/hidden/spool", "99:99", "xfs", Kind.LOCAL),
    ],
)
def test_linux_tells_the_kind_by_the_mount(folder: str, device: str, type_name: str, kind: Kind) -> None:
    found = from_mountinfo(MOUNTINFO, PurePosixPath(folder), device=device)
    assert (found.type_name, found.kind) == (type_name, kind)


def test_a_mount_that_another_one_hides_does_not_count() -> None:
    mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:9 / /lab/deep rw - nfs far:/ rw\n3 1 8:2 / /lab rw - xfs b rw\n"
    found = from_mountinfo(mounts, PurePosixPath("/lab/deep/spool"), device="8:2")
    assert (found.type_name, found.mount_point) == ("xfs", "/lab")


@pytest.mark.parametrize(
    ("folder", "type_name", "kind"),
    [
        ("/Users/ada/Library/Application Support/framespool", "apfs", Kind.LOCAL),
        ("/Volumes/lab data/spool", "smbfs", Kind.NETWORK),
        ("/Volumes/export", "nfs", Kind.NETWORK),
        ("/Volumes/STICK/a", "msdos", Kind.FAT),
        ("/Volumes/Card on it/a", "exfat", Kind.FAT),
        ("/Users/ada/far/spool", "macfuse", Kind.UNKNOWN),
    ],
)
def test_macos_tells_the_kind_by_the_mount(folder: str, type_name: str, kind: Kind) -> None:
    found = from_mount(MAC, PurePosixPath(folder))
    assert (found.type_name, found.kind) == (type_name, kind)


@pytest.mark.parametrize(
    ("drive_type", "type_name", "volume", "kind"),
    [
        (3, "NTFS", "C:\\", Kind.LOCAL),
        (3, "ReFS", "D:\\", Kind.LOCAL),
        (2, "FAT32", "E:\\", Kind.FAT),
        (2, "exFAT", "F:\\", Kind.FAT),
        (3, "exFAT", "C:\\lab\\card\\", Kind.FAT),
        (4, "NTFS", "Z:\\", Kind.NETWORK),
        (4, "", "\\\\nas\\lab\\", Kind.NETWORK),
        (6, "NTFS", "R:\\", Kind.MEMORY),
        (0, "", "Q:\\", Kind.UNKNOWN),
    ],
)
def test_windows_tells_the_kind_by_the_drive_and_then_by_the_name(
    drive_type: int, type_name: str, volume: str, kind: Kind
) -> None:
    assert from_windows(drive_type, type_name, volume).kind is kind


@pytest.mark.parametrize("text", ["", "nothing that a system would say", "1 2 3 - x"])
def test_what_cannot_be_told_is_unknown(text: str) -> None:
    assert from_mountinfo(text, PurePosixPath("/x"), device="8:1").kind is Kind.UNKNOWN
    assert from_mount(text, PurePosixPath("/x")).kind is Kind.UNKNOWN


def test_this_machine_tells_of_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    here = file_system_of(tmp_path / "a" / "b" / "spool")
    assert here == file_system_of(tmp_path)
    assert here.type_name


# What is made of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
def test_only_a_new_spool_is_refused_and_only_unless_somebody_takes_the_risk(kind: Kind) -> None:
    there = FileSystem(type_name="x", mount_point="/x", kind=kind)
    unsafe = kind in (Kind.NETWORK, Kind.FAT)
    assert filesystems.refused(there, is_new=True, accepted=False) is unsafe
    assert not filesystems.refused(there, is_new=True, accepted=True)
    assert not filesystems.refused(there, is_new=False, accepted=False)
    assert (filesystems.objection(there) is None) is (kind in (Kind.LOCAL, Kind.UNKNOWN))


@pytest.fixture
def lies_on(monkeypatch: pytest.MonkeyPatch) -> list[FileSystem]:
    """What every folder lies on; a test sets it."""
    told = [FileSystem(type_name="ext4", mount_point="/", kind=Kind.LOCAL)]
    monkeypatch.setattr(filesystems, "file_system_of", lambda _: told[0])
    return told


SHARE = FileSystem(type_name="nfs4", mount_point="/mnt/lab", kind=Kind.NETWORK)
STICK = FileSystem(type_name="exfat", mount_point="/media/usb", kind=Kind.FAT)
NO_LIMITS = Limits(min_free_bytes=0)


@pytest.mark.parametrize("there", [SHARE, STICK])
@pytest.mark.parametrize("folder_is_there", [False, True])
def test_a_new_spool_on_a_share_or_on_fat_is_refused_with_the_reason_and_leaves_no_trace(
    root: Path, lies_on: list[FileSystem], there: FileSystem, folder_is_there: bool
) -> None:
    lies_on[0] = there
    if folder_is_there:
        root.mkdir()
    with pytest.raises(UnsafeFileSystem) as raised:
        Spool(root)
    assert there.mount_point in str(raised.value)
    assert there.type_name in str(raised.value)
    assert "FRAMESPOOL_UNSAFE_FILE_SYSTEM=1" in raised.value.hint
    assert (raised.value.type_name, raised.value.mount_point) == (there.type_name, there.mount_point)
    assert root.exists() is folder_is_there
    assert not list(root.glob("*"))


def test_who_takes_the_risk_gets_the_spool_and_a_warning(
    root: Path, lies_on: list[FileSystem], caplog: pytest.LogCaptureFixture
) -> None:
    lies_on[0] = SHARE
    with Spool(root, limits=NO_LIMITS, unsafe_file_system=True) as spool:
        check_invariants(spool)
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "/mnt/lab (nfs4) is a network share" in told


@pytest.mark.parametrize("lost", ["nothing", "index", "index and ledger"])
def test_a_spool_that_is_there_already_opens_everywhere_and_says_once_what_is_wrong(
    root: Path, lies_on: list[FileSystem], caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames())
    if "index" in lost:
        (root / "index.sqlite3").unlink()
    if "ledger" in lost:
        (root / "ledger.jsonl").unlink()
    lies_on[0] = STICK
    with Spool(root, limits=NO_LIMITS) as spool:
        spool.push(ref, 1, some_frames(seed=1))
        assert spool.stream(ref).tally.spooled == 2
    told = [record.getMessage() for record in caplog.records if "is not safe" in record.getMessage()]
    assert len(told) == 1


def test_a_spool_in_memory_is_only_warned_of_and_only_when_it_begins(
    root: Path, lies_on: list[FileSystem], caplog: pytest.LogCaptureFixture
) -> None:
    lies_on[0] = FileSystem(type_name="tmpfs", mount_point="/run", kind=Kind.MEMORY)
    for _ in range(2):
        Spool(root, limits=NO_LIMITS).close()
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "/run (tmpfs) is in memory only, and gone with the power"
    ]


# A real mount, where one can be made --------------------------------------------------------------------------


@pytest.fixture(params=["folder", *(["tmpfs"] if sys.platform == "linux" and os.geteuid() == 0 else [])])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, FileSystem]]:
    """A folder, and what it lies on."""
    folder = tmp_path / "a place with spaces"
    folder.mkdir()
    if request.param == "folder":
        yield folder, file_system_of(tmp_path)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    try:
        yield folder, FileSystem(type_name="tmpfs", mount_point=str(folder), kind=Kind.MEMORY)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_real_mount_is_found_through_a_link(real: tuple[Path, FileSystem], tmp_path: Path) -> None:
    folder, expected = real
    (tmp_path / "link").symlink_to(folder)
    assert file_system_of(tmp_path / "link" / "a" / "spool") == expected
