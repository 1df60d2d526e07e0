"""Real bundles and real gradients for the tests of the device: exported once, used by all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from device_lab import Lab
from torch import Tensor, nn
from torch.nn import functional

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.runtimes import Runtime, load_runtime
from pfedfrz_export import export_bundle
from pfedfrz_models import build_model, method_partition
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    InputSpec,
    Partition,
    Phase,
    Schedule,
    TrainableSet,
    find_method,
    partition_by_patterns,
)

CLASSES = 10
MlpBundle = Callable[[str, Hyperparameters], Bundle]


def _every_graph(partition: Partition) -> Schedule:
    """A schedule that needs every graph which the partition allows."""
    if not partition.personal:
        kinds: tuple[TrainableSet, ...] = (TrainableSet.SHARED,)
    elif not partition.shared:
        kinds = (TrainableSet.PERSONAL,)
    else:
        kinds = tuple(TrainableSet)
    return Schedule("every graph", tuple(Phase(kind) for kind in kinds))


@pytest.fixture(scope="session")
def mlp_bundle() -> MlpBundle:
    """The model `mlp` as a bundle for (method, hyper-parameters); graphs are exported once."""
    exported: dict[Group | None, Bundle] = {}

    def bundle(name: str, hyper: Hyperparameters) -> Bundle:
        method = find_method(name)
        if method.uniform not in exported:
            model = build_model("mlp", CLASSES, seed=3)
            partition = method_partition(method, model, ())
            exported[method.uniform] = export_bundle(
                model.module,
                name="mlp",
                input_spec=model.input,
                partition=partition,
                schedule=_every_graph(partition),
            )
        made = exported[method.uniform]
        manifest = msgspec.structs.replace(made.manifest, schedule=method.schedule(hyper))
        return Bundle(manifest, made.files)

    return bundle


class Wide(nn.Module):
    """Cheap to train, and its shared weights fill three chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(6, 300)
        self.body = nn.Linear(300, 600)
        self.head = nn.Linear(600, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.body(functional.relu(self.front(x))))
        logits: Tensor = self.head(hidden)
        return logits


@pytest.fixture(scope="session")
def wide_bundle() -> Bundle:
    """`Wide` for pFedFrz, its first layer personal."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        module = Wide()
    names = [name for name, _ in module.named_parameters()]
    hyper = Hyperparameters(epochs=2, batch_size=16, learning_rate=0.05)
    return export_bundle(
        module,
        name="wide",
        input_spec=InputSpec((6,), 3),
        partition=partition_by_patterns(names, ("front.*",)),
        schedule=find_method("pfedfrz").schedule(hyper),
    )


@pytest.fixture(scope="session")
def wide_runtime(wide_bundle: Bundle) -> Runtime:
    return load_runtime("onnxruntime", wide_bundle)


def _blobs(seed: int, samples: int, shape: tuple[int, ...], labels: list[int]) -> LabelledData:
    """Samples around one random point for each label: something that can be learnt."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(max(labels) + 1, *shape))
    y = random.choice(labels, samples).astype(np.int64)
    x = centres[y] + random.normal(scale=0.7, size=(samples, *shape))
    return LabelledData(x.astype(np.float32), y)


@pytest.fixture(scope="session")
def mlp_data() -> LocalData:
    """50 training samples of four labels, a test set of all ten."""
    train = _blobs(1, 50, (1, 28, 28), [1, 3, 4, 8])
    return LocalData(train, _blobs(2, 60, (1, 28, 28), list(range(CLASSES))), CLASSES)


@pytest.fixture(scope="session")
def wide_data() -> LocalData:
    return LocalData(_blobs(1, 40, (6,), [0, 1, 2]), _blobs(2, 30, (6,), [0, 1, 2]), 3)


@pytest.fixture
def lab(
    wide_bundle: Bundle, wide_runtime: Runtime, wide_data: LocalData, tmp_path: Path
) -> Iterator[Lab]:
    made = Lab(wide_bundle, wide_runtime, wide_data, tmp_path / "state")
    yield made
    made.close()
