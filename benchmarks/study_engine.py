"""Clients trained per second by the study engine, against a plain torch loop over the same clients.

The loop is what one writes first: load_state_dict, torch.optim.SGD, batches by indexing, one client
after the other in one process, with torch's default number of threads and with one; the quicker of
the two is the base. Both sides train FedAvg on the same rows in the same order; their final weights
are compared before any ratio is given. They take turns in one run, and the table has medians.
Accuracies are measured by neither: the engine has one round more, and is stopped before it.
Starting its processes is timed apart.

Wall time says what a user waits for, and needs an idle machine: beside other work one process and
several do not get the same share of it. CPU time, of all processes together, is nearly the same
either way; `cpu` is its ratio for one core, and times the cores it is what wall time could reach.

    python benchmarks/study_engine.py
    python benchmarks/study_engine.py --repeats 3 --no-growth
    python benchmarks/study_engine.py --growth-only
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pfedfrz_coordinator.cores import available_cores
from pfedfrz_edge.batches import epoch_order
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.study.cell import Cell, open_cell
from pfedfrz_emulator.study.cohort import StudyFolders
from pfedfrz_emulator.study.forms import Form, step_times
from pfedfrz_emulator.study.local_executor import LocalExecutor
from pfedfrz_emulator.study.rounds import run_cell
from pfedfrz_protocol import Encoding, Hyperparameters

TOLERANCE = 1e-4
SAMPLES_IN_ALL = 32_000
CASES = (
    # model, samples per client, clients, rounds, aim
    ("cnn-small", 32, 100, 5, 3.0),
    ("cnn-small", 300, 100, 2, 3.0),
    ("mlp", 32, 100, 20, 6.0),
    ("mlp", 300, 100, 10, 6.0),
)
FEW = 10
"""Clients that the loop with all threads is timed on: beside other work it may crawl."""
GROWTH = (10, 100, 1000, 10_000)
GROWTH_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One case: clients trained per second of wall time."""

    model: str
    samples: int
    clients: int
    rounds: int
    form: str
    cold_s: float
    """Until the first round is over: processes started, data mapped, graphs traced."""
    engine: float
    loop_one_thread: float
    loop_all_threads: float
    ratio: float
    """Of wall time, to the quicker loop."""
    cpu_ratio: float
    """Of CPU time, to the loop with one thread."""
    aim: float
    difference: float
    """The largest of any final weight."""


@dataclass(frozen=True)
class GrowthRow:
    """What a number of devices costs."""

    devices: int
    cold_s: float
    round_s: float
    per_device_ms: float
    driver_mib: float
    """Peak of the proportional set size; pages that processes share are shared out among them."""
    workers_mib: float
    """Of all workers together."""


def main() -> int:
    """Measure and print tables or JSON; 1 when final weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each side (5)")
    parser.add_argument("--no-growth", action="store_true", help="only the comparison")
    parser.add_argument("--growth-only", action="store_true", help="only the growth")
    parser.add_argument("--case", type=int, action="append", help="only these, from 0")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.devices:
        print(json.dumps(asdict(measure_growth(options.devices))))
        return 0
    rows: list[Row] = []
    growth: list[GrowthRow] = []
    if not options.growth_only:
        for case in [CASES[place] for place in options.case or range(len(CASES))]:
            rows.append(compare(*case, repeats=options.repeats))
            if not options.json:
                print_row(rows[-1], first=len(rows) == 1)
    if not options.no_growth:
        for devices in GROWTH:
            growth.append(in_process_of_its_own(devices))
            if not options.json:
                print_growth(growth[-1], first=len(growth) == 1)
    if options.json:
        parts = {"rows": list(map(asdict, rows)), "growth": list(map(asdict, growth))}
        print(json.dumps({"machine": machine(), **parts}, indent=1))
    return int(any(row.difference > TOLERANCE for row in rows))


def compare(
    model: str, samples: int, clients: int, rounds: int, aim: float, *, repeats: int
) -> Row:
    """The engine and the loop on one case, taking turns."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment_of(Path(folder), model, samples, clients, rounds + 1)
        folders = StudyFolders(Path(folder))
        cell = open_cell(experiment, folders.inputs, folders.datasets)
        torch.set_num_threads(1)
        times = step_times(cell, max(1, clients // available_cores()))
        form = min(times, key=lambda kind: times[kind])
        began = time.perf_counter()
        executor = LocalExecutor(folders)
        try:
            first: list[float] = []
            ours = run_cell(
                cell,
                executor,
                form,
                measure_every=rounds + 1,
                on_round=lambda _: note(first, began),
            ).shared
            theirs = loop(cell, rounds + 1)
            difference = float(np.abs(ours - theirs).max())
            if difference > TOLERANCE:
                raise SystemExit(f"{model}, {samples}: final weights differ by {difference:.1e}")
            sides: dict[str, Callable[[], object]] = {
                "engine": lambda: train_only(cell, executor, form, rounds),
                "one": lambda: with_threads(1, lambda: loop(cell, rounds)),
                "all": lambda: with_threads(available_cores(), lambda: loop(cell, 1, FEW)),
            }
            taken: dict[str, list[Taken]] = {side: [] for side in sides}
            for _ in range(repeats):
                for side, run in sides.items():
                    taken[side].append(measure(run))
        finally:
            executor.close()
    wall = {side: statistics.median(each.wall_s for each in taken[side]) for side in sides}
    cpu = {side: statistics.median(each.cpu_s for each in taken[side]) for side in sides}
    trained = {"engine": clients * rounds, "one": clients * rounds, "all": FEW}
    rate = {side: trained[side] / wall[side] for side in sides}
    return Row(
        model,
        samples,
        clients,
        rounds,
        form.value,
        first[0],
        rate["engine"],
        rate["one"],
        rate["all"],
        rate["engine"] / max(rate["one"], rate["all"]),
        cpu["one"] / cpu["engine"],
        aim,
        difference,
    )


@dataclass(frozen=True)
class Taken:
    """What a run took; CPU time of this process and of all below it."""

    wall_s: float
    cpu_s: float


def measure(run: Callable[[], object]) -> Taken:
    wall, cpu = time.perf_counter(), cpu_s()
    run()
    return Taken(time.perf_counter() - wall, cpu_s() - cpu)


def cpu_s() -> float:
    total = time.process_time()
    for worker in psutil.Process().children(recursive=True):
        times = worker.cpu_times()
        total += times.user + times.system
    return total


class Enough(Exception):
    """All rounds that are timed are over."""


def train_only(cell: Cell, executor: LocalExecutor, form: Form, rounds: int) -> None:
    def after_round(number: int) -> None:
        if number == rounds:
            raise Enough

    with contextlib.suppress(Enough):
        run_cell(cell, executor, form, measure_every=rounds + 1, on_round=after_round)


def note(times: list[float], began: float) -> None:
    times.append(time.perf_counter() - began)


def with_threads(threads: int, run: Callable[[], object]) -> None:
    torch.set_num_threads(threads)
    run()


def loop(cell: Cell, rounds: int, clients: int | None = None) -> NDArray[np.float32]:
    """FedAvg by a plain loop; the shared weights after the last round, as the engine lays them.

    With `clients` only so many of them.
    """
    experiment = cell.experiment
    rate, batch = experiment.training.learning_rate, experiment.training.batch_size
    x = torch.from_numpy(np.array(cell.data.train_x))
    y = torch.from_numpy(cell.data.dataset.train_y.astype(np.int64))
    model = cell.module
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    start = weights
    for number in range(1, rounds + 1):
        total = {name: torch.zeros_like(value) for name, value in weights.items()}
        for name, rows in list(zip(cell.names, cell.rows, strict=True))[:clients]:
            model.load_state_dict(weights)
            optimizer = torch.optim.SGD(model.parameters(), lr=rate)
            own_x, own_y = x[rows], y[rows]
            order = epoch_order(experiment.seed, name, number, "0", 0, len(rows))
            for begin in range(0, len(rows), batch):
                chosen = torch.from_numpy(order[begin : begin + batch])
                optimizer.zero_grad()
                functional.cross_entropy(model(own_x[chosen]), own_y[chosen]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            for key, value in model.state_dict().items():
                total[key] += value
        weights = {name: value / len(cell.names) for name, value in total.items()}
    model.load_state_dict(start)
    return np.concatenate([value.numpy().reshape(-1) for value in weights.values()])


def measure_growth(devices: int) -> GrowthRow:
    """Rounds of all `devices`, each with 32 samples, in this process and its workers."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment_of(Path(folder), "mlp", 32, devices, GROWTH_ROUNDS)
        folders = StudyFolders(Path(folder))
        began = time.perf_counter()
        cell = open_cell(experiment, folders.inputs, folders.datasets)
        executor = LocalExecutor(folders)
        ended: list[float] = []
        try:
            with PeakMemory() as memory:
                run_cell(
                    cell,
                    executor,
                    Form.STACKED,
                    measure_every=GROWTH_ROUNDS,
                    on_round=lambda _: note(ended, began),
                )
        finally:
            executor.close()
    round_s = (ended[-1] - ended[0]) / (GROWTH_ROUNDS - 1)
    return GrowthRow(
        devices,
        ended[0],
        round_s,
        round_s / devices * 1e3,
        memory.driver_mib,
        memory.workers_mib,
    )


def in_process_of_its_own(devices: int) -> GrowthRow:
    command = [sys.executable, __file__, "--devices", str(devices)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return GrowthRow(**json.loads(done.stdout))


class PeakMemory:
    """The largest memory of this process and of all below it, looked at every 50 ms."""

    def __init__(self) -> None:
        self.driver_mib = self.workers_mib = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        here = psutil.Process()
        while not self._over.wait(0.05):
            self.driver_mib = max(self.driver_mib, proportional_mib(here))
            workers = sum(map(proportional_mib, here.children(recursive=True)))
            self.workers_mib = max(self.workers_mib, workers)


def proportional_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def experiment_of(folder: Path, model: str, samples: int, clients: int, rounds: int) -> Experiment:
    """FedAvg over equal parts of made-up images, 28 x 28."""
    path = folder / "images.npz"
    random = np.random.default_rng(0)
    count = max(SAMPLES_IN_ALL, samples * clients)
    y = random.integers(0, 10, count + 1000)
    centres = random.integers(0, 150, (10, 28, 28))
    noise = random.integers(0, 100, (len(y), 28, 28), dtype=np.uint8)
    x = (centres.astype(np.uint8)[y] + noise).astype(np.uint8)
    np.savez(path, x_train=x[1000:], y_train=y[1000:], x_test=x[:1000], y_test=y[:1000])
    return Experiment(
        method="fedavg",
        dataset=f"npz:{path}",
        model=model,
        split="iid",
        devices=clients,
        rounds=rounds,
        samples=samples,
        test_per_class=1,
        encoding=Encoding.FLOAT32,
        training=Hyperparameters(learning_rate=0.01),
    )


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    packages = {name: version(name) for name in ("torch", "onnxruntime", "numpy")}
    load = f"{os.getloadavg()[0]:.1f}"
    return {
        "cpu": next(names, platform.machine()),
        "cores": str(available_cores()),
        "load": load,
        "python": platform.python_version(),
        **packages,
    }


def print_row(row: Row, *, first: bool) -> None:
    if first:
        print("  ".join(f"{name} {value}" for name, value in machine().items()))
        head = ("model", "samples", "form", "cold", "engine/s", "loop/s, 1", "loop/s, all")
        print(
            ("{:<10} {:>7} {:<8} {:>7}" + " {:>11}" * 3).format(*head), "  ratio  aim  difference"
        )
    print(
        f"{row.model:<10} {row.samples:>7} {row.form:<8} {row.cold_s:>5.1f} s {row.engine:>9.1f} "
        f"{row.loop_one_thread:>9.1f} {row.loop_all_threads:>9.1f} {row.ratio:>6.2f} "
        f"{row.aim:>4.0f} {row.cpu_ratio:>6.2f} {row.difference:>10.0e}",
        flush=True,
    )


def print_growth(row: GrowthRow, *, first: bool) -> None:
    if first:
        print(
            f"\nmlp, 32 samples each, {available_cores()} workers; memory: peak of shared-out sets"
        )
        head = ("devices", "cold", "round", "per device", "driver", "workers")
        print(("{:>8}" + " {:>11}" * 5).format(*head))
    print(
        f"{row.devices:>8} {row.cold_s:>9.1f} s {row.round_s:>9.2f} s {row.per_device_ms:>8.2f} ms "
        f"{row.driver_mib:>7.0f} MiB {row.workers_mib:>7.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
