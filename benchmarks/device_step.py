"""What a device's training step costs on every runtime: time, memory, and room on its disk.

Every case (a runtime, a model, a partition) is measured in a process of its own, on one thread, as
CPU time, taking turns with the same step of torch eager: the table gives medians and ratios of
medians. The limit is the time of the step's products at the rate of a large matrix product, which
is measured in the same process. The memory is the peak of another process, one that imports what a
device imports and trains with every graph of the bundle.

    python benchmarks/device_step.py
    python benchmarks/device_step.py --models cnn --personal head --runtimes onnxruntime torch
    python benchmarks/device_step.py --bundles FOLDER     # keep the bundles, for another run

Onnxruntime's training build cannot be in one environment with the plain one: it is taken from the
folder that scripts/test-training-build makes, and left out where there is none.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

# Run as a file, it finds its parts like this.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.device_steps.cases import (
    DEFAULT_MODELS,
    PERSONAL,
    Case,
    StepRow,
    environment_for,
    training_build,
)
from benchmarks.device_steps.footprint import Installed, installed, peak_of_training
from benchmarks.device_steps.table import print_installed, print_phases, print_steps
from pfedfrz_coordinator.cores import available_cores
from pfedfrz_edge.runtimes import RUNTIMES
from pfedfrz_edge.runtimes.executorch_program import BINDING_VARIABLE
from pfedfrz_protocol import PfedfrzError

BUILD = Path(__file__).parents[1] / "firmware_scripts" / "build-executorch-binding.sh"


class Task(msgspec.Struct, frozen=True):
    """What a process of its own is asked to do."""

    case: Case
    bundle: str
    repeats: int
    samples: int
    kind: str
    """`measure`, `peak` or `installed`."""


class NotMeasured(Exception):
    """A case that cannot be had here, and why."""


def main() -> int:
    """Measure every case and print tables or JSON."""
    options = arguments()
    if options.task is not None:
        return work(msgspec.json.decode(options.task, type=Task))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.bundles or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runtimes, absent = runtimes_here(options.runtimes, Path(temporary))
        rows: list[StepRow] = []
        for case in cases(options.models, options.personal, runtimes):
            path = folder / f"{case.model}-{case.personal}-{case.runtime}.pfz"
            task = Task(case, str(path), options.repeats, options.samples, "measure")
            try:
                row = msgspec.json.decode(ask(task), type=StepRow)
                peak = msgspec.json.decode(ask(msgspec.structs.replace(task, kind="peak")))
            except NotMeasured as error:
                absent.append(f"{case.model} {case.personal} {case.runtime}: {error}")
                continue
            rows.append(msgspec.structs.replace(row, peak_mib=peak))
            if not options.json:
                print(f"measured {case.model} {case.personal} {case.runtime}", file=sys.stderr)
        sizes = [
            msgspec.json.decode(
                ask(Task(Case(name, "", ""), "", 0, 0, "installed")), type=Installed
            )
            for name in runtimes
        ]
    report(rows, sizes, absent, options)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=DEFAULT_MODELS, metavar="MODEL")
    parser.add_argument("--personal", nargs="+", default=PERSONAL, metavar="PRESET")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), choices=list(RUNTIMES))
    parser.add_argument("--repeats", type=int, default=40, help="steps of each kind (40)")
    parser.add_argument("--samples", type=int, default=600, help="of a phase (600)")
    parser.add_argument("--bundles", type=Path, help="a folder to keep bundles in, and find them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    return parser.parse_args()


def cases(models: list[str], personal: list[str], runtimes: list[str]) -> list[Case]:
    """Every partition that a model has a preset for, on every runtime."""
    from pfedfrz_models import build_model

    presets = {name: build_model(name, 10, seed=0).presets for name in models}
    return [
        Case(runtime, model, preset)
        for model in models
        for preset in personal
        if preset in presets[model]
        for runtime in runtimes
    ]


def runtimes_here(wanted: list[str], temporary: Path) -> tuple[list[str], list[str]]:
    """The runtimes to measure, and what is said of those that are left out."""
    here, absent = list(wanted), []
    if "onnxruntime-training" in here and training_build() is None:
        here.remove("onnxruntime-training")
        absent.append(
            "onnxruntime-training: its build is not here; run scripts/test-training-build once"
        )
    if "executorch" in here and BINDING_VARIABLE not in os.environ:
        library = temporary / "libpfedfrz_executorch.so"
        command = [str(BUILD), "--python", sys.executable, "--output", str(library)]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            here.remove("executorch")
            absent.append(f"executorch: {built.stderr.strip().splitlines()[-1]}")
        os.environ[BINDING_VARIABLE] = str(library)
    return here, absent


def ask(task: Task) -> bytes:
    """What a process of its own answers; NotMeasured for what cannot be had here."""
    command = [sys.executable, __file__, "--task", msgspec.json.encode(task).decode()]
    done = subprocess.run(command, env=environment_for(task.case.runtime), capture_output=True)
    if done.returncode == 1 and done.stdout.startswith(b"error: "):
        raise NotMeasured(done.stdout.decode().removeprefix("error: ").strip())
    if done.returncode:
        raise SystemExit(f"{task}\n{done.stderr.decode()}")
    return done.stdout


def work(task: Task) -> int:
    """Do what this process was started for, and print the answer as JSON."""
    answer: object
    try:
        if task.kind == "measure":
            from benchmarks.device_steps.measure import measure

            answer = measure(
                task.case, Path(task.bundle), repeats=task.repeats, samples=task.samples
            )
        elif task.kind == "peak":
            answer = peak_of_training(Path(task.bundle), task.case.runtime)
        else:
            answer = installed(task.case.runtime)
    except (PfedfrzError, PackageNotFoundError) as error:
        print(f"error: {error}")
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 0


def report(
    rows: list[StepRow], sizes: list[Installed], absent: list[str], options: argparse.Namespace
) -> None:
    """Everything that was measured, and what was not."""
    if options.json:
        record = {"machine": machine(), "rows": rows, "installed": sizes, "not_measured": absent}
        print(msgspec.json.format(msgspec.json.encode(record), indent=1).decode())
        return
    print("  ".join(f"{name} {value}" for name, value in machine().items()))
    if rows:
        print_steps(rows)
        print_phases(rows, options.samples)
    print_installed(sizes, rows)
    print("\nnot measured: " + ("; ".join(absent) or "nothing was left out"))


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": str(available_cores()),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }


if __name__ == "__main__":
    sys.exit(main())
