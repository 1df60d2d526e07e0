"""Time and memory of every aggregation rule against the same rule written plainly in numpy.

Updates lie on disk, one file a device, as a coordinator keeps them. Ours reads them in blocks; the
plain one loads them all and works on the whole array, as most implementations do. Every run is a
process of its own on one thread: CPU time of reading and aggregating (the median of its repeats),
and the peak of its memory. Results must agree before a ratio is printed.

    python benchmarks/aggregation.py
    python benchmarks/aggregation.py --clients 20 --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_coordinator.cores import available_cores

SIZES = ((20, 54_000), (100, 1_000_000), (1000, 100_000))
REPEATS = {20: 5}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
AGREEMENT = 1e-4
"""Length of the difference over the length of the result; float32 decides a tie now and then."""
ITERATIONS = 3

Matrix = NDArray[np.float32]
Plain = Callable[[Matrix, int], NDArray[np.floating]]


def distances(x: Matrix) -> NDArray[np.float64]:
    """Squared distances by the usual identity, about the origin."""
    exact = x.astype(np.float64)
    squares = (exact * exact).sum(axis=1)
    return np.asarray(np.maximum(squares[:, None] + squares[None] - 2 * exact @ exact.T, 0))


def scores(squared: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Krum's scores; column 0 is the distance to oneself."""
    return np.asarray(np.sort(squared, axis=1)[:, 1 : neighbours + 1].sum(axis=1))


def around_median(x: Matrix, keep: int) -> NDArray[np.floating]:
    """The mean of the `keep` values closest to the median."""
    order = np.argsort(np.abs(x - np.median(x, axis=0)), axis=0)[:keep]
    return np.asarray(np.take_along_axis(x, order, axis=0).mean(axis=0))


def multi_krum(x: Matrix, f: int) -> NDArray[np.floating]:
    """The mean of the n - f best."""
    order = np.argsort(scores(distances(x), len(x) - f - 2))
    return np.asarray(x[order[: len(x) - f]].mean(axis=0))


def bulyan(x: Matrix, f: int) -> NDArray[np.floating]:
    """Repeated Krum on what is left of one distance matrix."""
    squared, left, chosen = distances(x), list(range(len(x))), list[int]()
    while len(chosen) < len(x) - 2 * f:
        neighbours = max(len(left) - f - 2, min(2, len(left) - 1))
        best = int(np.argmin(scores(squared[np.ix_(left, left)], neighbours)))
        chosen.append(left.pop(best))
    return around_median(x[chosen], len(chosen) - 2 * f)


def geometric_median(x: Matrix, _: int) -> NDArray[np.floating]:
    """Weiszfeld on points from the mean."""
    point = x.mean(axis=0)
    for _step in range(100):
        pulls = 1 / np.maximum(np.linalg.norm(x - point, axis=1), 1e-9)
        previous, point = point, (pulls / pulls.sum()) @ x
        if np.linalg.norm(point - previous) <= 1e-6 * np.linalg.norm(point):
            break
    return np.asarray(point)


def clipping(x: Matrix, iterations: int) -> NDArray[np.floating]:
    """Centered clipping from zero."""
    point, radius = np.zeros(x.shape[1], np.float32), 0.0
    for _ in range(iterations):
        steps = x - point
        lengths = np.linalg.norm(steps, axis=1)
        radius = radius or float(np.median(lengths))
        point = point + (steps * np.minimum(1, radius / lengths)[:, None]).mean(axis=0)
    return np.asarray(point)


def mixed(x: Matrix, f: int) -> Matrix:
    """Nearest neighbour mixing as one matrix product."""
    nearest = np.argsort(distances(x), axis=1)[:, : len(x) - f]
    mixing = np.zeros((len(x), len(x)), np.float32)
    np.put_along_axis(mixing, nearest, np.float32(1 / (len(x) - f)), axis=1)
    return np.asarray(mixing @ x)


def buckets(x: Matrix) -> Matrix:
    """Means of two, in the order that our rule draws from seed 0."""
    order = np.random.default_rng(0).permutation(len(x))
    return np.asarray(x[order].reshape(-1, 2, x.shape[1]).mean(axis=1))


PLAIN: dict[str, Plain] = {
    "mean": lambda x, _: np.average(x, axis=0, weights=np.ones(len(x))),
    "median": lambda x, _: np.asarray(np.median(x, axis=0)),
    "trimmed-mean:attackers={f}": lambda x, f: np.asarray(
        np.sort(x, axis=0)[f : len(x) - f].mean(axis=0)
    ),
    "meamed:attackers={f}": lambda x, f: around_median(x, len(x) - f),
    "geometric-median": geometric_median,
    "krum:attackers={f}": lambda x, f: x[np.argmin(scores(distances(x), len(x) - f - 2))],
    "multi-krum:attackers={f}": multi_krum,
    "bulyan:attackers={f}": bulyan,
    "norm-clipping": lambda x, _: clipping(x, 1),
    f"centered-clipping:iterations={ITERATIONS}": lambda x, _: clipping(x, ITERATIONS),
    "nnm+median:attackers={f}": lambda x, f: np.asarray(np.median(mixed(x, f), axis=0)),
    "bucketing+median": lambda x, _: np.asarray(np.median(buckets(x), axis=0)),
}


@dataclass(frozen=True)
class Row:
    """One rule at one size; times are CPU time."""

    rule: str
    clients: int
    parameters: int
    ours_s: float
    plain_s: float
    ours_over_plain: float
    ours_peak_mib: float
    plain_peak_mib: float
    difference: float
    """Its length between the two results, over the length of one."""


def main() -> int:
    """Measure every rule at every size and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, help="only the size with so many clients")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(run_one(*options.one)))
        return 0
    rows = []
    for clients, parameters in SIZES:
        if options.clients in (None, clients):
            with tempfile.TemporaryDirectory() as folder:
                write_updates(Path(folder), clients, parameters)
                rows += [measure(Path(folder), rule, clients, parameters) for rule in PLAIN]
    if options.json:
        print(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print_table(rows)
    return 0


def write_updates(folder: Path, clients: int, parameters: int) -> None:
    """Honest updates around one point, and a tenth of attackers that send its negative."""
    random = np.random.default_rng(0)
    centre = random.standard_normal(parameters, np.float32)
    for client in range(clients):
        update = centre + random.standard_normal(parameters, np.float32)
        if client < clients // 10:
            update = -3 * update
        update.tofile(folder / f"{client:05d}.float32")


def measure(folder: Path, rule: str, clients: int, parameters: int) -> Row:
    """Both implementations in processes of their own."""
    text = rule.format(f=clients // 10)
    found = {}
    for kind in ("ours", "plain"):
        command = [sys.executable, __file__, "--one", kind, rule, str(folder), str(clients)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
        )
        found[kind] = json.loads(done.stdout)
    results = [np.load(folder / f"{kind}.npy").astype(np.float64) for kind in found]
    difference = float(np.linalg.norm(results[0] - results[1]) / np.linalg.norm(results[1]))
    if difference > AGREEMENT:
        raise SystemExit(f"{text} at {clients} x {parameters}: results differ by {difference:.1e}")
    ours, plain = found["ours"], found["plain"]
    return Row(
        text,
        clients,
        parameters,
        round(ours["seconds"], 4),
        round(plain["seconds"], 4),
        round(ours["seconds"] / plain["seconds"], 3),
        round(ours["peak_mib"], 1),
        round(plain["peak_mib"], 1),
        difference,
    )


def run_one(kind: str, rule: str, folder: str, clients: str) -> dict[str, float]:
    """One rule in this process: its time and the peak of the process."""
    from pfedfrz_coordinator.aggregation import aggregate, find_rule
    from pfedfrz_coordinator.update_store import StoredUpdates

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # ours would take a thread for each
    count = int(clients)
    paths = tuple(sorted(Path(folder).glob("*.float32")))
    parameters = paths[0].stat().st_size // 4
    attackers = count // 10

    def ours() -> NDArray[np.floating]:
        start = np.zeros(parameters, np.float32)
        rows = StoredUpdates(paths, parameters)
        return aggregate(find_rule(rule.format(f=attackers)), rows, [1.0] * count, reference=start)

    def plain() -> NDArray[np.floating]:
        updates = np.empty((count, parameters), np.float32)
        for row, path in zip(updates, paths, strict=True):
            row[:] = np.fromfile(path, np.float32)
        return PLAIN[rule](updates, attackers)

    times = []
    for _ in range(REPEATS.get(count, 1)):
        begin = time.process_time()
        result = ours() if kind == "ours" else plain()
        times.append(time.process_time() - begin)
    # Not getrusage: its maximum goes back to before this program was started.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    np.save(Path(folder) / f"{kind}.npy", result)
    return {"seconds": statistics.median(times), "peak_mib": peak}


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": str(available_cores()),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def print_table(rows: list[Row]) -> None:
    """The rows, one table a size."""
    print("  ".join(f"{name} {value}" for name, value in machine().items()))
    print("one thread, CPU time with reading from disk; peak of the whole process")
    size = (0, 0)
    for row in rows:
        if size != (row.clients, row.parameters):
            size = (row.clients, row.parameters)
            updates_mib = row.clients * row.parameters * 4 / 2**20
            print(f"\n{row.clients} x {row.parameters:,}: {updates_mib:,.0f} MiB of updates")
            head = ("rule", "ours", "numpy", "ratio", "ours MiB", "numpy MiB")
            print(("{:<34}" + "{:>11}" * 5).format(*head))
        print(
            f"{row.rule:<34}{row.ours_s:>9.3f} s{row.plain_s:>9.3f} s{row.ours_over_plain:>11.2f}"
            f"{row.ours_peak_mib:>11.0f}{row.plain_peak_mib:>11.0f}"
        )


if __name__ == "__main__":
    sys.exit(main())
