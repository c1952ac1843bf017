"""moto's S3 server as a process of its own."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

BUCKET = "growths"
KEY_ID = "an-access-key"
SECRET = "very-secret-access-key"


class S3Server:
    """moto's server, with one bucket; it forgets everything when it ends."""

    key_id = KEY_ID

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        # Parts of a few kilobytes are enough for a test.
        environment = {**os.environ, "S3_UPLOAD_PART_MIN_SIZE": "1024"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        patience = time.monotonic() + 60
        while True:
            try:
                self.make_bucket(BUCKET)
            except httpx.TransportError:
                assert time.monotonic() < patience
                assert self.process.poll() is None
                time.sleep(0.1)
            else:
                return

    def make_bucket(self, name: str) -> None:
        httpx.put(f"{self.url}/{name}").raise_for_status()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def point_to(url: str, monkeypatch: pytest.MonkeyPatch, *, key_id: str = KEY_ID) -> None:
    """Let the environment say that S3 is there, as a lab's would."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
