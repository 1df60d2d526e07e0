"""The long run: scripts/chaos [--kills N] [--seed N] [--out DIR]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .checks import check_run
from .points import COORDINATOR_POINTS, DEVICE_POINTS
from .run import ChaosRun


def main() -> int:
    """0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--out", type=Path, help="a new directory; without it a temporary one")
    options = parser.parse_args()
    if options.kills < 1 or options.devices < 1:
        parser.error("--kills and --devices must be 1 or more")
    out = options.out or Path(tempfile.mkdtemp(prefix="pfedfrz-chaos-"))
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        parser.error(f"{out} is not empty")
    print(f"{options.kills} kills, seed {options.seed}, in {out}", flush=True)
    outcome, witness = ChaosRun(out, options.kills, options.seed, options.devices).go()
    faults = check_run(outcome, witness)
    by_victim = ", ".join(f"{count} {kind}" for kind, count in outcome.kills.most_common())
    print(f"{outcome.kills.total()} kills ({by_victim}) in {outcome.seconds:.0f} s")
    print(f"{outcome.rounds} rounds closed")
    for point in (*DEVICE_POINTS, *COORDINATOR_POINTS):
        print(f"  {outcome.deaths[point]:3d} x {point}")
    never = [p for p in (*DEVICE_POINTS, *COORDINATOR_POINTS) if not outcome.deaths[p]]
    if never:
        print(f"this run says nothing of: {', '.join(never)}")
    print(f"{outcome.stale_rounds} trainings for an announcement that an old database brought back")
    for fault in faults:
        print(f"WRONG: {fault}")
    print("every promise was kept" if not faults else f"{len(faults)} promises were broken")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
