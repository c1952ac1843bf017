"""Swift's four servers and their cache, on ports of loopback that were free: one device, one replica, one user.

It is a second S3-compatible server beside moto's, and one that people run. Its programs are Debian's: ``apt-get
install --no-install-recommends swift-account swift-container swift-object swift-proxy memcached``. They run on the
system's Python and its memcached, or on those that ``SWIFT_PYTHON`` and ``SWIFT_MEMCACHED`` name, and need neither
a service nor root, nor ``/etc/swift``. What they keep lies in one folder, whose file system must know extended
attributes.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

KEY_ID, REGION = "framespool:lab", "us-east-1"
PART_BYTES_MIN = 1024
"""Parts of a few kilobytes are enough for a test."""
_PYTHON = os.environ.get("SWIFT_PYTHON", "/usr/bin/python3")
_MEMCACHED = os.environ.get("SWIFT_MEMCACHED", "memcached")
# Its command, which looks for its own name there.
_RING_BUILDER = "import sys; sys.argv[0] = 'ring-builder'; from swift.cli.ringbuilder import main; main()"
_SERVERS = ("account", "container", "object")
_PATIENCE_S = 60.0

_SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = framespool
[storage-policy:0]
name = one
default = yes
"""
_COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
log_level = ERROR
"""
_STORAGE = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
# As its operators have it. Without proxy-logging nothing says how long an answer to HEAD is, and the end of a body
# that there is not stays on the connection.
_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper proxy-logging cache listing_formats
    s3api tempauth slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache_port}
[filter:s3api]
use = egg:swift#s3api
location = {region}
min_segment_size = {part_bytes_min}
[filter:tempauth]
use = egg:swift#tempauth
user_{user_name} = {secret} .admin
[filter:slo]
use = egg:swift#slo
min_segment_size = 1
"""


class SwiftUnavailable(RuntimeError):
    """Swift cannot be run here; the message says why."""


class SwiftServer:
    """Swift, from when it answers S3 until it is closed.

    Args:
        folder: for what it keeps, and says; made by the caller.
        secret: of the one user, whose name is `KEY_ID`.
        bucket: is made.

    Raises:
        SwiftUnavailable: its programs are not installed, or do not run.
    """

    key_id = KEY_ID

    def __init__(self, folder: Path, *, secret: str, bucket: str) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        _require_installed()
        *server_ports, cache_port = _free_ports(len(_SERVERS) + 2)
        ports = dict(zip((*_SERVERS, "proxy"), server_ports, strict=True))
        self.port = ports["proxy"]
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "devices" / "d1").mkdir(parents=True)
        (folder / "swift.conf").write_text(_SWIFT_CONF)
        for kind, port in ports.items():
            common = _COMMON.format(port=port, user=getpass.getuser(), folder=folder)
            facts = {"region": REGION, "part_bytes_min": PART_BYTES_MIN, "secret": secret}
            facts["cache_port"] = cache_port
            own = _STORAGE.format(kind=kind) if kind in _SERVERS else ""
            own = own or _PROXY.format(user_name=KEY_ID.replace(":", "_"), **facts)
            (folder / f"{kind}.conf").write_text(common + own)
        for kind in _SERVERS:
            self._make_ring(kind, ports[kind])
        self._deadline_s = time.monotonic() + _PATIENCE_S
        try:
            # It keeps the tokens that were given out.
            self._start("cache", [_MEMCACHED, "-l", "127.0.0.1", "-p", str(cache_port), "-u", getpass.getuser()])
            for kind in ports:
                if kind == "proxy":  # it leaves servers alone for a minute that did not answer
                    self._await_ports(cache_port, *(ports[one] for one in _SERVERS))
                self._start(kind, [_PYTHON, str(Path(__file__).with_name("serve.py")), kind, str(folder)])
            self._await(secret, bucket)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill what runs."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _make_ring(self, kind: str, port: int) -> None:
        builder = str(self._folder / f"{kind}.builder")
        # 16 partitions, one replica, moved whenever asked for.
        self._build(builder, "create", "4", "1", "0")
        self._build(builder, "add", f"r1z1-127.0.0.1:{port}/d1", "1")
        self._build(builder, "rebalance")

    def _build(self, *arguments: str) -> None:
        done = subprocess.run(
            [_PYTHON, "-c", _RING_BUILDER, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode > 1:  # with 1 it has a remark
            raise SwiftUnavailable(f"its ring cannot be built: {done.stdout}{done.stderr}")

    def _start(self, kind: str, command: Sequence[str]) -> None:
        with (self._folder / f"{kind}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
            )

    def _await_ports(self, *ports: int) -> None:
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S).close()
                except ConnectionRefusedError as error:
                    self._require_life(error)
                    time.sleep(0.1)
                else:
                    break

    def _require_life(self, error: Exception) -> None:
        if any(process.poll() is not None for process in self._processes) or time.monotonic() > self._deadline_s:
            raise SwiftUnavailable(f"it does not answer ({error}): {self._said()}") from error

    def _await(self, secret: str, bucket: str) -> None:
        # Only for the bucket, and it takes long to load.
        import boto3  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped] # noqa: PLC0415

        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=secret,
            region_name=REGION,
            config=Config(retries={"total_max_attempts": 1}, request_checksum_calculation="when_required"),
        )
        while True:
            try:
                client.create_bucket(Bucket=bucket)
            except (BotoCoreError, ClientError) as error:
                self._require_life(error)
                time.sleep(0.2)
            else:
                return

    def _said(self) -> str:
        return "\n".join(path.read_text("utf-8", "replace")[-2000:] for path in sorted(self._folder.glob("*.log")))


def environment(server: SwiftServer, secret: str) -> dict[str, str]:
    """What says to any program that S3 is there."""
    return {
        "AWS_ACCESS_KEY_ID": server.key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_REGION": REGION,
    }


def _require_installed() -> None:
    try:
        found = subprocess.run([_PYTHON, "-c", "import swift.obj.server"], capture_output=True, check=False)
    except FileNotFoundError:
        raise SwiftUnavailable(f"there is no {_PYTHON}") from None
    if found.returncode or shutil.which(_MEMCACHED) is None:
        packages = "swift-account swift-container swift-object swift-proxy memcached"
        raise SwiftUnavailable(f"it is not installed: apt-get install --no-install-recommends {packages}")


def _free_ports(count: int) -> Sequence[int]:
    """Ports that nobody has, as of now; all are held until the last one is known."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
