import threading
import time
from collections.abc import Callable

import pytest

from tests.uploader.rig import wait_until
from uploader import gate as gates
from uploader.gate import Gate

THREADS = 8


def started(target: Callable[[], object], count: int = THREADS) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)


class Inside:
    """Counts who is inside at once, and the most that ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = self.visits = 0

    def enter(self) -> None:
        with self._lock:
            self.now += 1
            self.visits += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self._lock:
            self.now -= 1


def test_an_open_gate_lets_all_pass_at_once() -> None:
    gate, inside = Gate(threading.Event()), Inside()
    together = threading.Barrier(THREADS)

    def attempt() -> None:
        with gate.turn():
            inside.enter()
            together.wait(10)

    threads = started(attempt)
    wait_until(lambda: ended(threads))
    assert inside.most == THREADS


def test_a_closed_gate_lets_one_at_a_time_probe() -> None:
    gate, inside = Gate(threading.Event()), Inside()
    gate.close("down")

    def attempt() -> None:
        for _ in range(25):
            with gate.turn():
                inside.enter()
                time.sleep(0.0005)  # something to overlap with
                inside.leave()

    threads = started(attempt)
    wait_until(lambda: ended(threads))
    assert inside.visits == 25 * THREADS
    assert inside.most == 1


def test_a_gate_that_opens_lets_those_in_line_pass_without_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_LOOK_S", 3600.0)  # they are woken
    gate, inside = Gate(threading.Event()), Inside()
    gate.close("down")
    release = threading.Event()

    def attempt() -> None:
        with gate.turn():
            inside.enter()
            release.wait(20)

    threads = started(attempt)
    wait_until(lambda: inside.now == 1)
    gate.open()
    wait_until(lambda: inside.now == THREADS)
    release.set()
    wait_until(lambda: ended(threads))


def nap(gate: Gate, seconds: float, *, at_least_s: float = 0.0, wakes_on_open: bool = True) -> bool:
    return gate.wait(seconds, at_least_s=at_least_s, wakes_on_open=wakes_on_open, is_called_off=lambda: False)


def test_what_the_server_asked_for_is_waited_even_when_the_gate_opens() -> None:
    gate = Gate(threading.Event())
    gate.close("down")
    began = time.monotonic()
    threads = started(lambda: nap(gate, 600, at_least_s=0.4), 1)
    gate.open()
    wait_until(lambda: ended(threads), within_s=5)
    assert time.monotonic() - began >= 0.4


def test_a_wait_that_is_called_off_was_not_served() -> None:
    gate = Gate(threading.Event())
    assert not gate.wait(600, at_least_s=600, wakes_on_open=False, is_called_off=lambda: True)
    assert gate.wait(0.0, at_least_s=0.0, wakes_on_open=False, is_called_off=lambda: False)


def test_the_first_success_wakes_all_that_sleep() -> None:
    gate = Gate(threading.Event())
    gate.close("down")
    threads = started(lambda: nap(gate, 600))
    assert gate.open() is not None
    wait_until(lambda: ended(threads), within_s=5)


def test_a_stop_wakes_all_that_sleep_or_wait_for_their_turn() -> None:
    stopped = threading.Event()
    gate = Gate(stopped)
    gate.close("down")
    held, release = threading.Event(), threading.Event()

    def probe() -> None:
        with gate.turn():
            held.set()
            release.wait(20)

    def wait_for_turn() -> None:
        with gate.turn():
            pass

    probing = started(probe, 1)
    wait_until(held.is_set)
    waiting = [
        *started(lambda: nap(gate, 600)),
        *started(lambda: nap(gate, 600, wakes_on_open=False)),
        *started(wait_for_turn),
    ]
    stopped.set()
    wait_until(lambda: ended(waiting), within_s=5)
    release.set()
    wait_until(lambda: ended(probing))


def test_a_stream_with_trouble_of_its_own_sleeps_on_when_the_gate_opens() -> None:
    stopped = threading.Event()
    gate = Gate(stopped)
    gate.close("down")
    began = time.monotonic()
    threads = started(lambda: nap(gate, 0.4, wakes_on_open=False), 1)
    gate.open()
    wait_until(lambda: ended(threads))
    assert time.monotonic() - began >= 0.4


def test_a_failed_probe_gives_the_turn_back() -> None:
    gate = Gate(threading.Event())
    gate.close("down")

    def attempt() -> None:
        with gate.turn():
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            attempt()


def test_the_gate_says_why_it_is_closed_and_whether_that_is_news() -> None:
    gate = Gate(threading.Event())
    told = [gate.words]
    assert gate.open() is None
    assert gate.close("first")
    assert not gate.close("second")
    told.append(gate.words)
    lasted = gate.open()
    assert lasted is not None
    assert lasted >= 0
    told.append(gate.words)
    assert told == [None, "second", None]
