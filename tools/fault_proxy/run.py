"""Run the fault proxy as a process: ``python tools/fault_proxy/run.py --to HOST:PORT [--port N]``.

It prints its URL, then obeys one command a line from stdin and answers each with a line of JSON::

    set FAULT [{"after_bytes": 1000, ...}]      put a fault in force, with settings as JSON
    clear                                       let everything pass
    counters                                    what has happened so far

It ends with stdin.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.fault_proxy import Fault, FaultProxy
from tools.fault_proxy.proxy import loopback


def main() -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description="A proxy on loopback that breaks connections on purpose.")
    parser.add_argument("--to", required=True, help="the server, as HOST:PORT; loopback only")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 chooses a free port")
    given = parser.parse_args()
    host, _, port = given.to.rpartition(":")
    try:
        target = (loopback(host), int(port))
    except ValueError as error:
        parser.error(f"--to {given.to}: {error}")
    with FaultProxy(*target, port=given.port) as proxy:
        print(proxy.url, flush=True)
        for line in sys.stdin:
            print(json.dumps(_obey(proxy, line)), flush=True)
    return 0


def _obey(proxy: FaultProxy, line: str) -> dict[str, object]:
    command, _, rest = line.strip().partition(" ")
    try:
        if command == "set":
            fault, _, settings = rest.partition(" ")
            proxy.set(Fault(fault), **json.loads(settings or "{}"))
        elif command == "clear":
            proxy.clear()
        elif command == "counters":
            return dict(proxy.counters())
        else:
            return {"error": f"unknown command {command!r}"}
    except (TypeError, ValueError) as error:
        return {"error": str(error)}
    return {"ok": True}


if __name__ == "__main__":
    sys.exit(main())
