"""The watchdog cuts what is past its deadline, and nothing else."""

import threading
import time

import pytest

from uploader.watchdog import Watch, Watchdog


def test_what_is_past_its_deadline_is_cut_and_what_is_not_is_left_alone() -> None:
    cut = threading.Event()
    watchdog = Watchdog()
    with watchdog.over(60, pytest.fail) as sound, watchdog.over(0.05, cut.set) as stuck:
        assert cut.wait(20)
    assert stuck.was_cut
    assert not sound.was_cut
    watchdog.close()


def test_a_watch_is_not_cut_before_it_has_been_given_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, give = Watchdog(), Watch.give
    cut: list[str] = []

    def give_late(watch: Watch, seconds: float) -> None:
        if seconds == 50:
            with watchdog.over(30, lambda: cut.append("another")):  # wakes the watchdog: it looks at all of them
                time.sleep(0.2)
        give(watch, seconds)

    monkeypatch.setattr(Watch, "give", give_late)
    with watchdog.over(60, lambda: cut.append("first")), watchdog.over(50, lambda: cut.append("late")) as late:
        assert cut == []
        assert not late.was_cut
    watchdog.close()
