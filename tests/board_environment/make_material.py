"""Makes what a board's environment is checked with: a bundle, samples, and the right answer.

    python tests/board_environment/make_material.py DIRECTORY [RUNTIME ...]

runs where torch is, and exports for those runtimes, onnxruntime by default.
`train_and_compare.py` runs where torch is not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_models import build_model, method_partition
from pfedfrz_protocol import Group, Hyperparameters, Purpose, find_method

SEED = 7
SAMPLES = 75


def main(directory: Path, runtimes: list[str]) -> None:
    """Write model.pfz, samples.npz and expected.npz."""
    directory.mkdir(parents=True, exist_ok=True)
    method, model = find_method("pfedfrz"), build_model("cnn-small", 10, SEED)
    bundle = export_bundle(
        model.module,
        name=model.name,
        input_spec=model.input,
        partition=method_partition(method, model, ()),
        schedule=method.schedule(Hyperparameters(momentum=0.5, weight_decay=1e-3)),
        runtimes=runtimes,
    )
    save_bundle(bundle, directory / "model.pfz")
    random = np.random.default_rng(SEED)
    x = random.standard_normal((SAMPLES, 1, 28, 28), dtype=np.float32)
    y = random.integers(0, 10, SAMPLES)
    np.savez(directory / "samples.npz", x=x, y=y)
    data = LabelledData(x, y)
    training = LocalTraining(
        load_runtime("onnxruntime", bundle),
        bundle.manifest,
        LocalData(data, data, 10),
        "board",
        SEED,
    )
    update = training.run(
        1,
        Purpose.TRAIN,
        bundle.initial_weights(Group.SHARED),
        bundle.initial_weights(Group.PERSONAL),
    )
    np.savez(directory / "expected.npz", **update.shared, **update.personal)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["onnxruntime"])
