"""Live random lives against the model: ``python tools/model/run.py --examples 500 --steps 60 --seed 1``.

A life that breaks a promise is shrunk and printed step by step; the same seed finds it again. The exit code is
then 1.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.model.machine import SpoolMachine


def live(*, examples: int, steps: int, chosen: int, shrinks: bool = True) -> None:
    """Live so many lives.

    Raises:
        AssertionError: a promise was broken; notes say by which steps.
    """
    phases = [Phase.generate, *([Phase.shrink] if shrinks else [])]
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(seed(chosen)(SpoolMachine), settings=how)


def main(arguments: Sequence[str] | None = None) -> int:
    """Live what was asked for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100, help="how many lives")
    parser.add_argument("--steps", type=int, default=50, help="how long each may be")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same lives")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    asked = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began, broken = time.monotonic(), None
    before = SpoolMachine.steps_checked
    try:
        live(examples=asked.examples, steps=asked.steps, chosen=asked.seed)
    except Exception as error:  # noqa: BLE001 - whatever a life ends with is what was asked for
        broken = f"{type(error).__name__}: {error}"
        if not asked.json:
            print("\n".join(getattr(error, "__notes__", ())))
    seconds = round(time.monotonic() - began, 1)
    steps = SpoolMachine.steps_checked - before
    if asked.json:
        print(json.dumps({"seed": asked.seed, "steps": steps, "seconds": seconds, "broken": broken}, indent=1))
    else:
        print(f"seed {asked.seed}: {steps} steps, {seconds:.0f} s, {broken or 'every promise kept'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
