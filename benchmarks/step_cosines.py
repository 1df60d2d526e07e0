"""What it costs to know which way each update pulls, beside making the model of them.

Updates lie on disk as a coordinator keeps them, float16 differences by default. Aggregation and
cosines alternate in one process that keeps one core; times are CPU time, and every figure is the
median of its repeats.

    python benchmarks/step_cosines.py
    python benchmarks/step_cosines.py --clients 100 --parameters 1000000 --rule mean
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pfedfrz_coordinator.aggregation import Mean, aggregate, find_rule
from pfedfrz_coordinator.step_cosines import step_cosines
from pfedfrz_coordinator.update_store import UpdateStore

CNN_SMALL = 46_730
"""Parameters in all; what is shared of them depends on the partition."""
RULES = ("mean", "mean:exact=true", "median")


def main() -> int:
    """Print a line for each rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--parameters", type=int, default=CNN_SMALL)
    parser.add_argument("--rule", choices=RULES, help="only this one")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    # A thread for each core would measure the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random = np.random.default_rng(0)
    base = random.standard_normal(options.parameters, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        store, names = UpdateStore(Path(folder)), list[str]()
        for number in range(options.clients):
            names.append(f"device-{number:05d}")
            step = 0.01 * random.standard_normal(options.parameters, np.float32)
            store.put(1, names[-1], step.astype(np.float16))
        rows = store.open(1, names, options.parameters, base)
        for name in (options.rule,) if options.rule else RULES:
            rule = find_rule(name)
            weights = [1.0] * options.clients
            shares = [1 / options.clients] * options.clients
            merging, pulling = list[float](), list[float]()
            for _ in range(options.repeats):
                begin = time.process_time()
                model = aggregate(rule, rows, weights, reference=base)
                made = time.process_time()
                step_cosines(rows, shares, base, model, is_mean=isinstance(rule, Mean))
                merging.append(made - begin)
                pulling.append(time.process_time() - made)
            merge_s, pull_s = statistics.median(merging), statistics.median(pulling)
            print(
                f"{options.clients} updates of {options.parameters:,}, {name}: model "
                f"{merge_s:.3f} s, cosines {pull_s:.3f} s, ratio {pull_s / merge_s:.2f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
