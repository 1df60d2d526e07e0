"""FedAvg of a hundred clients by the study engine and by Flower's simulation on Ray.

The same small network of 47 thousand parameters, the same initial weights, rows, order of samples
and learning rate on both sides; the final weights are compared before any ratio is given. Cold
start is all until the first round is over: processes, imports, data, graphs. The loop is the
rounds after it. The sides take turns; the table has medians.

Flower is installed into an environment of its own (--environment), which sees this one's torch
behind its own packages, so that both train with the same build.

    python benchmarks/against_flower.py
    python benchmarks/against_flower.py --samples 32 --repeats 1
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedfrz_coordinator.cores import available_cores

FLOWER = "flwr[simulation]==1.41.0"
CLIENTS, BATCH, RATE = 100, 32, 0.01
TOLERANCE = 1e-4
CASES = {32: (5, 10.0), 300: (3, 4.0)}
"""Rounds, and the ratio aimed at, by samples per client."""


@dataclass(frozen=True)
class Run:
    """One run of one side; times from its beginning."""

    weights: NDArray[np.float32]
    cold_s: float
    loop_s: float


def main() -> int:
    """Measure and print a table; 1 when final weights differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, action="append", choices=CASES, help="32 and 300")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (3)")
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path(tempfile.gettempdir()) / "pfedfrz-flower",
        help="where Flower is installed, and found the next time",
    )
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer, options.rounds)
        return 0
    python = install_flower(options.environment)
    print(f"{FLOWER}; {CLIENTS} clients, {available_cores()} cores, load {os.getloadavg()[0]:.1f}")
    head = ("samples", "rounds", "engine", "flower", "loop", "aim", "engine", "flower", "cold")
    print(("{:>8} {:>7}" + " {:>9}" * 2 + " {:>6} {:>4}" + " {:>9}" * 2 + " {:>6}").format(*head))
    for samples in options.samples or CASES:
        compare(python, samples, options.repeats)
    return 0


def compare(python: Path, samples: int, repeats: int) -> None:
    """Both sides on one workload, taking turns, as a line of the table."""
    rounds, aim = CASES[samples]
    ours: list[Run] = []
    theirs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            ours.append(run_engine(Path(folder), samples, rounds))
            theirs.append(run_flower(python, Path(folder), rounds))
            difference = float(np.abs(ours[-1].weights - theirs[-1].weights).max())
            if difference > TOLERANCE:
                raise SystemExit(f"{samples} samples: final weights differ by {difference:.1e}")
    loop, other_loop = (statistics.median(run.loop_s for run in side) for side in (ours, theirs))
    cold, other_cold = (statistics.median(run.cold_s for run in side) for side in (ours, theirs))
    print(
        f"{samples:>8} {rounds:>7} {loop:>7.2f} s {other_loop:>7.2f} s {other_loop / loop:>6.1f} "
        f"{aim:>4.0f} {cold:>7.2f} s {other_cold:>7.2f} s {other_cold / cold:>6.1f}",
        flush=True,
    )


def run_engine(folder: Path, samples: int, rounds: int) -> Run:
    """The study engine; leaves what the peer needs in `folder`."""
    from pfedfrz_emulator.experiment import Experiment
    from pfedfrz_emulator.study.cell import open_cell
    from pfedfrz_emulator.study.cohort import StudyFolders
    from pfedfrz_emulator.study.forms import Form
    from pfedfrz_emulator.study.local_executor import LocalExecutor
    from pfedfrz_emulator.study.rounds import run_cell
    from pfedfrz_protocol import Group, Hyperparameters

    images = folder / f"images-{samples}.npz"
    if not images.exists():
        make_images(images, CLIENTS * samples)
    began = time.perf_counter()
    experiment = Experiment(
        method="fedavg",
        dataset=f"npz:{images}",
        model="cnn-small",
        split="iid",
        devices=CLIENTS,
        rounds=rounds,
        samples=samples,
        test_per_class=1,
        training=Hyperparameters(learning_rate=RATE, batch_size=BATCH),
    )
    folders = StudyFolders(folder)
    cell = open_cell(experiment, folders.inputs, folders.datasets)
    executor = LocalExecutor(folders)
    ended: list[float] = []

    def after_round(_: int) -> None:
        ended.append(time.perf_counter() - began)

    try:
        outcome = run_cell(cell, executor, Form.EAGER, measure_every=rounds, on_round=after_round)
    finally:
        executor.close()
    np.savez(
        folder / "workload.npz",
        x=np.array(cell.data.train_x),
        y=cell.data.dataset.train_y.astype(np.int64),
        rows=np.stack(cell.rows),
        names=np.array(cell.names),
        initial=cell.initial[Group.SHARED],
        parameters=np.array(cell.layouts[Group.SHARED].names),
        seed=experiment.seed,
    )
    return Run(outcome.shared, ended[0], ended[-1] - ended[0])


def make_images(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 10, count + 1000)
    centres = random.integers(0, 150, (10, 28, 28)).astype(np.uint8)
    x = centres[y] + random.integers(0, 100, (len(y), 28, 28), dtype=np.uint8)
    np.savez(path, x_train=x[1000:], y_train=y[1000:], x_test=x[:1000], y_test=y[:1000])


def install_flower(environment: Path) -> Path:
    """The interpreter of an environment that has Flower, made where there is none yet."""
    python = environment / "bin" / "python"
    if not (environment / "ready").exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", FLOWER], check=True)
        command = "import sysconfig; print(sysconfig.get_path('purelib'))"
        done = subprocess.run([python, "-c", command], check=True, capture_output=True, text=True)
        # Read after the environment's own packages: what both have is Flower's choice.
        here = sysconfig.get_path("purelib")
        (Path(done.stdout.strip()) / "torch_of_the_other_side.pth").write_text(f"{here}\n")
        (environment / "ready").touch()
    return python


def run_flower(python: Path, folder: Path, rounds: int) -> Run:
    """Flower in a process of its own."""
    command = [str(python), __file__, "--peer", str(folder), "--rounds", str(rounds)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of_flower())
    if done.returncode or not (folder / "flower.npz").exists():
        raise SystemExit(f"Flower failed:\n{done.stderr[-3000:]}")
    with np.load(folder / "flower.npz") as result:
        ended: list[float] = result["ended"].tolist()
        weights = result["weights"]
    (folder / "flower.npz").unlink()
    return Run(weights, ended[0] - began, ended[-1] - ended[0])


def environment_of_flower() -> dict[str, str]:
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    rooms = os.pathsep.join(path for path in sys.path[1:] if "site-packages" not in path and path)
    return {**os.environ, **quiet, "PYTHONPATH": rooms, "OMP_NUM_THREADS": "1"}


def run_peer(folder: Path, rounds: int) -> None:
    """FedAvg by Flower, in Flower's environment: one core for each client, as its tutorials do."""
    import torch
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # type: ignore[import-not-found]
    from flwr.clientapp import ClientApp  # type: ignore[import-not-found]
    from flwr.serverapp import Grid, ServerApp  # type: ignore[import-not-found]
    from flwr.serverapp.strategy import FedAvg  # type: ignore[import-not-found]
    from flwr.simulation import run_simulation  # type: ignore[import-not-found]
    from torch.nn import functional

    from pfedfrz_edge.batches import epoch_order
    from pfedfrz_models import build_model

    with np.load(folder / "workload.npz") as loaded:
        rows, names = loaded["rows"], loaded["names"].tolist()
        seed, initial = int(loaded["seed"]), loaded["initial"]
        x, y = loaded["x"], loaded["y"]
    # A file for each client: what an actor reads is what its client holds.
    for place, own in enumerate(rows):
        np.savez(folder / f"client-{place}.npz", x=x[own], y=y[own])
    client_app, server_app = ClientApp(), ServerApp()
    held = str(folder)

    def train(message: Any, context: Any) -> Any:
        torch.set_num_threads(1)
        place = int(context.node_config["partition-id"])
        number = int(message.content["config"]["server-round"])
        with np.load(f"{held}/client-{place}.npz") as own:
            x, y = torch.from_numpy(own["x"]), torch.from_numpy(own["y"])
        model = build_model("cnn-small", 10, seed).module
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        order = torch.from_numpy(epoch_order(seed, names[place], number, "0", 0, len(y)))
        for start in range(0, len(y), BATCH):
            chosen = order[start : start + BATCH]
            optimizer.zero_grad()
            functional.cross_entropy(model(x[chosen]), y[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(y)}),
            }
        )
        return Message(content=content, reply_to=message)

    client_app.train()(train)

    @server_app.main()  # type: ignore[untyped-decorator]
    def serve(grid: Grid, context: Context) -> None:
        model = build_model("cnn-small", 10, seed).module
        start = np.concatenate([p.detach().numpy().reshape(-1) for p in model.parameters()])
        assert np.array_equal(start, initial), "the sides begin with other weights"
        ended: list[float] = []

        def after_round(number: int, arrays: Any) -> Any:
            if number:
                ended.append(time.time())
            return MetricRecord({"round": number})

        strategy = FedAvg(
            fraction_train=1.0,
            fraction_evaluate=0.0,
            min_train_nodes=CLIENTS,
            min_available_nodes=CLIENTS,
        )
        result = strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            num_rounds=rounds,
            evaluate_fn=after_round,
        )
        state = result.arrays.to_torch_state_dict()
        weights = np.concatenate([value.numpy().reshape(-1) for value in state.values()])
        np.savez(folder / "flower.npz", weights=weights, ended=np.array(ended))

    run_simulation(
        server_app,
        client_app,
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )


if __name__ == "__main__":
    sys.exit(main())
