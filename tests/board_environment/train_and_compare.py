"""One round of pFedFrz in a board's environment, without torch, compared with the right answer.

python tests/board_environment/train_and_compare.py DIRECTORY [RUNTIME]
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import numpy as np
from emulated_memory import peak_memory

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
        f"numpy {np.__version__}: weights within {difference:.1e}, {peak_memory()}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "onnxruntime")
