"""A TCP proxy on loopback that breaks connections on purpose, switchable while it runs.

* `FaultProxy` stands between a client and a server: ``with FaultProxy("127.0.0.1", port) as proxy: proxy.url``.
* `Fault` names what it can do; ``python tools/fault_proxy/run.py`` runs it as a process.

It passes the client's ``Host`` on untouched. A server that makes its URLs from it, as the loopback server does
for presigned ones, therefore hands out URLs that lead through the proxy again.
"""

from tools.fault_proxy.faults import Fault, Setting
from tools.fault_proxy.proxy import FaultProxy

__all__ = ["Fault", "FaultProxy", "Setting"]
