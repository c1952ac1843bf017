"""`FaultProxy`: the listener, the switch and the counters. Loopback addresses only."""

import contextlib
import ipaddress
import socket
import threading
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Self

from tools.fault_proxy.conversation import Conversation
from tools.fault_proxy.faults import OF_TLS, STANDING, Fault, Setting
from tools.fault_proxy.pace import Pace

_RECEIVE_BUFFER_BYTES = 64 * 1024
_BACKLOG = 64
_LOOK_S = 0.2
_JOIN_S = 5.0


def loopback(host: str) -> str:
    """The host as an address that only this machine can reach.

    Raises:
        ValueError: it is none.
    """
    address = "127.0.0.1" if host == "localhost" else host
    if not ipaddress.IPv4Address(address).is_loopback:
        raise ValueError(f"{host} is no loopback address")
    return address


class FaultProxy:
    """Stands between clients and one server, and misbehaves when told to; a context manager.

    Args:
        target_host: where the server is: a loopback IPv4 address.
        target_port: its port.
        port: where to listen; 0 chooses a free one, which stays the same through every fault.
    """

    def __init__(self, target_host: str, target_port: int, *, port: int = 0) -> None:
        self._target = (loopback(target_host), target_port)
        self._lock = threading.Lock()
        self._setting: Setting | None = None
        self._fired = 0
        self._counters: Counter[str] = Counter()
        self._standing: dict[Conversation, threading.Thread] = {}
        self._closing = threading.Event()
        self._pace = Pace()
        self._listener = _bound(port)
        self.port: int = self._listener.getsockname()[1]
        self._listener.listen(_BACKLOG)
        self._thread = threading.Thread(target=self._accept, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection, and listen no more."""
        self._closing.set()
        with self._lock:
            standing = dict(self._standing)
        for conversation in standing:
            conversation.orders.give("close")
        for thread in (self._thread, *standing.values()):
            thread.join(_JOIN_S)
        self._listener.close()

    def set(
        self,
        fault: Fault | str,
        *,
        only: str = "",
        times: int | None = None,
        where: str = "head",
        after_bytes: int = 0,
        bytes_each: int = 1,
        pause_s: float = 0.1,
        bytes_per_s: float = 100_000.0,
        body_bytes_min: int = 1,
        status: int = 200,
        seed: int = 0,
    ) -> Setting:
        """Put one fault in force, in place of the one before; see `Fault` and `Setting`."""
        setting = Setting(
            fault=Fault(fault),
            only=only,
            times=times,
            where=where,
            after_bytes=after_bytes,
            bytes_each=bytes_each,
            pause_s=pause_s,
            bytes_per_s=bytes_per_s,
            body_bytes_min=body_bytes_min,
            status=status,
            seed=seed,
        )
        self._switch(setting)
        return setting

    def clear(self) -> None:
        """Let everything pass. A connection that has gone silent stays so, as a real one would."""
        self._switch(None)

    def counters(self) -> dict[str, int]:
        """Connections, requests and bytes so far, and how often each fault (by its name) has struck.

        ``refuse`` and ``half_open`` count the connections that stood; who is refused is seen by nobody here.
        """
        with self._lock:
            return dict(self._counters)

    # Private --------------------------------------------------------------------------------------------

    def _switch(self, setting: Setting | None) -> None:
        with self._lock:
            before, self._setting, self._fired = self._setting, setting, 0
            standing = list(self._standing)
            if setting is not None and setting.fault is Fault.REFUSE:
                self._refuse()
            elif before is not None and before.fault is Fault.REFUSE:
                self._listener.listen(_BACKLOG)
            if setting is not None and setting.fault in STANDING:
                self._counters[setting.fault.value] += len(standing)
        if setting is not None and setting.fault in STANDING:
            for conversation in standing:
                conversation.orders.give("silent" if setting.fault is Fault.HALF_OPEN else "reset")

    def _refuse(self) -> None:
        # Bound but not listening: the port stays ours, and whoever knocks is refused.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept()
        self._listener.close()
        self._listener = _bound(self.port)

    def _fault_for(self, request: str) -> Setting | None:
        with self._lock:
            setting = self._setting
            is_tls = request.startswith("TLS")
            if setting is None or setting.fault in (Fault.REFUSE, Fault.HALF_OPEN):
                return None
            if is_tls != (setting.fault in OF_TLS) or not setting.concerns(request):
                return None
            if self._fired == setting.times:
                return None
            self._fired += 1
            self._counters[setting.fault.value] += 1
            return replace(setting, seed=setting.seed + self._fired)

    def _count(self, name: str, number: int) -> None:
        with self._lock:
            self._counters[name] += number

    def _accept(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                listener = self._listener
            try:
                listener.settimeout(_LOOK_S)
                accepted, _ = listener.accept()
            except OSError:
                # Nobody came, or nobody is to be let in at the moment.
                self._closing.wait(_LOOK_S / 10)
                continue
            self._begin(accepted)

    def _begin(self, accepted: socket.socket) -> None:
        accepted.settimeout(None)
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = Conversation(
            accepted=accepted, target=self._target, fault_for=self._fault_for, count=self._count, pace=self._pace
        )
        thread = threading.Thread(target=self._converse, args=(conversation,), name="fault-proxy", daemon=True)
        with self._lock:
            self._counters["connections"] += 1
            self._standing[conversation] = thread
        thread.start()

    def _converse(self, conversation: Conversation) -> None:
        try:
            conversation.run()
        finally:
            with self._lock:
                self._standing.pop(conversation, None)


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Small, so that a body that is not taken any further is soon felt by its sender.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    made.bind(("127.0.0.1", port))
    return made
