"""Run the oracle soak: ``python tools/soak/run.py --minutes 5 --seed 1 [--producers 2] [--json]``.

Exit code 1 if any promise was not kept; the folder with everything is then kept, and named.
"""

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.soak.campaign import Plan, run_soak


def main() -> int:
    """Play one soak, print its figures."""
    parser = argparse.ArgumentParser(description="Everything real, everything failing, everything counted.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=None, help="the same seed draws the same faults")
    parser.add_argument("--producers", type=int, default=2, help="how many record at once")
    parser.add_argument("--impatient", action="store_true", help="shorter timeouts: more faults a minute")
    parser.add_argument("--detached", action="store_true", help="let the streamers start the worker")
    parser.add_argument("--keep", action="store_true", help="keep the folder also when all is well")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, progress to stderr")
    given = parser.parse_args()
    seed = secrets.randbelow(1 << 20) if given.seed is None else given.seed
    plan = Plan(
        seed=seed,
        seconds=given.minutes * 60,
        producers=given.producers,
        impatient=given.impatient,
        detached=given.detached,
    )
    folder = Path(tempfile.mkdtemp(prefix=f"framespool-soak-{seed}-"))
    print(f"seed {seed}, in {folder}", file=sys.stderr)
    figures = run_soak(plan, folder, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(figures.to_json(), indent=1) if given.json else figures.table())
    if figures.is_good and not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
