"""Run Swift on this machine, as a bucket to try things with: ``python tools/swift/run.py [--folder DIR]``.

It prints the variables that say to framespool where it is, and ends with Ctrl-C. The conformance suite runs
against it with ``FRAMESPOOL_RIG=tests.destinations.swift_rig:SwiftRig``; see docs/destinations.md.
"""

import argparse
import secrets
import shlex
import signal
import sys
import tempfile
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.swift.server import SwiftServer, SwiftUnavailable, environment

BUCKET = "growths"


def main() -> int:
    """Serve until somebody ends it; 1 when it cannot be run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, help="where it keeps everything; a new one, gone at the end, by default"
    )
    folder: Path | None = parser.parse_args().folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="swift-") as made:
        try:
            with SwiftServer((folder or Path(made)).absolute(), secret=secret, bucket=BUCKET) as server:
                for name, worth in environment(server, secret).items():
                    print(f"export {name}={shlex.quote(worth)}")
                print(f"# framespool stream sim: --to s3://{BUCKET}", flush=True)
                signal.pause()
        except SwiftUnavailable as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
