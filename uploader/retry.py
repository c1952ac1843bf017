"""The one retry layer: exponential backoff with full jitter, capped, without end.

Source: full jitter as tenacity's ``wait_random_exponential`` draws it, uniformly from 0 to
``min(cap, base * 2**k)``. A server's Retry-After is a minimum on top.
"""

import copy
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_result, wait_random_exponential
from tenacity.wait import wait_base

from uploader.destinations.base import TryLater

BASE_S = 0.5
CAP_S = 60.0

_T = TypeVar("_T")


class _AtLeastAsAsked(wait_base):
    """Full jitter, but never less than the last outcome asks for."""

    def __init__(self, tries_before: int) -> None:
        self._tries_before = tries_before
        self._jitter = wait_random_exponential(multiplier=BASE_S, max=CAP_S)

    def __call__(self, retry_state: RetryCallState) -> float:
        assert retry_state.outcome is not None
        outcome = retry_state.outcome.result()
        asked = outcome.min_wait_s if isinstance(outcome, TryLater) else 0.0
        counted = copy.copy(retry_state)
        counted.attempt_number += self._tries_before
        return float(max(asked, self._jitter(counted)))


def keep_trying(
    attempt: Callable[[], _T],
    *,
    tries_before: int,
    sleep: Callable[[float], None],
    stopped: Callable[[], bool],
    before_wait: Callable[[TryLater, float], None],
) -> _T:
    """Repeat an attempt for as long as it says `TryLater` and nobody stops the worker.

    Args:
        attempt: one try; its exceptions are not retried.
        tries_before: failed tries of the same thing by earlier calls; the backoff goes on from there.
        sleep: waits so many seconds, or less if there is a reason to try at once.
        stopped: whether the worker is to stop.
        before_wait: told what happened and how long the wait is.

    Returns:
        The first outcome that is not `TryLater`, or the last one when stopped.
    """

    def tell(state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        before_wait(state.outcome.result(), state.next_action.sleep)

    retrying = Retrying(
        retry=retry_if_result(lambda outcome: isinstance(outcome, TryLater)),
        wait=_AtLeastAsAsked(tries_before),
        stop=lambda _state: stopped(),
        sleep=sleep,
        before_sleep=tell,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return retrying(attempt)
