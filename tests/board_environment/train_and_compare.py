"""One round of pFedFrz in a board's environment, without torch, compared with the right answer.

python tests/board_environment/train_and_compare.py DIRECTORY [RUNTIME]
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import numpy as np

from pfedfrz_edge.data import LocalData, load_labelled
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_protocol import Group, Purpose
from pfedfrz_storage import read_bundle_file

TOLERANCE = 1e-5
NOT_HERE = ("torch", "onnx", "matplotlib", "sklearn")


def main(directory: Path, runtime: str) -> None:
    """Raise AssertionError when anything is not as it should be."""
    present = [name for name in NOT_HERE if importlib.util.find_spec(name)]
    assert present == [], f"a board should not have {present}"
    bundle = read_bundle_file(directory / "model.pfz")
    samples = load_labelled(directory / "samples.npz", bundle.manifest.input)
    training = LocalTraining(
        load_runtime(runtime, bundle),
        bundle.manifest,
        LocalData(samples, samples, bundle.manifest.input.classes),
        "board",
        7,
    )
    update = training.run(
        1,
        Purpose.TRAIN,
        bundle.initial_weights(Group.SHARED),
        bundle.initial_weights(Group.PERSONAL),
    )
    trained = {**update.shared, **update.personal}
    with np.load(directory / "expected.npz") as expected:
        assert set(trained) == set(expected.files)
        difference = max(float(np.abs(trained[n] - expected[n]).max()) for n in trained)
    assert difference < TOLERANCE, f"weights differ by {difference:g}"
    print(
        f"python {sys.version.split()[0]}, {runtime} {importlib.metadata.version(runtime)}, "
        f"numpy {np.__version__}: weights within {difference:.1e}, {_memory()}"
    )


def _memory() -> str:
    """The most that this process ever held; under an emulator, and without what is only that's.

    What qemu translates lies in memory that can be written and executed, which nothing else has
    here; qemu's own program is named.
    """
    peak_kib = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    emulator_kib, is_emulators = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and "-" in fields[0]:
            is_emulators = fields[1].startswith("rwx") or "qemu" in fields[-1]
        elif is_emulators and fields[0] == "Rss:":
            emulator_kib += int(fields[1])
    if not emulator_kib:
        return f"{peak_kib >> 10} MiB at most"
    own = (peak_kib - emulator_kib) >> 10
    return f"{own} MiB at most, and {emulator_kib >> 10} MiB of the emulator"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "onnxruntime")
