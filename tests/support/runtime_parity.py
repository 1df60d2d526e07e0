"""What the parity suites of all runtimes share: models, data, and torch's own word for it.

Runtimes x models x trainable sets x batches. Lowering for ExecuTorch takes ten seconds for each
graph of a large network; its suite has a file of its own and takes the largest ones only where
PFEDFRZ_WHOLE_MATRIX is set.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pfedfrz_edge.optimizer import Sgd
from pfedfrz_edge.runtimes import Runtime, load_runtime
from pfedfrz_export import export_bundle
from pfedfrz_export.verification import Batch, Reference
from pfedfrz_models import ARCHITECTURES, build_model
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Hyperparameters,
    InputSpec,
    LossKind,
    LossSpec,
    Parameters,
    Partition,
    Phase,
    Schedule,
    TrainableSet,
    find_method,
    partition_by_patterns,
)

FULL = 16
BATCHES = {"one": (1, 0), "odd": (7, 0), "full": (FULL, 0), "padded": (FULL, 5)}
"""Samples, and how many of them are padding: of weight zero."""
TOLERANCE = 1e-5
EVERY_SET = tuple(TrainableSet)
CROSS_ENTROPY = LossSpec()
LOSSES = {
    "label-smoothing": LossSpec(label_smoothing=0.1),
    "mean-squared-error": LossSpec(LossKind.MEAN_SQUARED_ERROR),
    "binary-cross-entropy": LossSpec(LossKind.BINARY_CROSS_ENTROPY),
}


class Layers(nn.Module):
    """The layers of small boards' networks: depthwise and strided, pools that overlap, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.mixed = nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.norm(self.front(x)))
        y = functional.max_pool2d(y, 3, 2, 1)
        y = functional.silu(self.mixed(self.depthwise(y)))
        logits: Tensor = self.head(functional.avg_pool2d(y, 2, 1).flatten(1))
        return logits


class TiedPool(nn.Module):
    """A pool of few different numbers; the gradient by `front` says which of equals was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Parameter(torch.zeros(2, 12, 12))
        self.head = nn.Linear(72, 5)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x + self.front, 2)
        logits: Tensor = self.head(pooled.flatten(1))
        return logits


class Sorted(nn.Module):
    """What no runtime carries."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sort(1).values


class Largest(nn.Module):
    """What onnxruntime-training has no gradient for."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(1, keepdim=True) + x


OWN = {"layers": Layers, "tied-pool": TiedPool}
MODELS = (*ARCHITECTURES, *OWN)


@cache
def model(name: str) -> tuple[nn.Module, InputSpec, Partition]:
    """The module, what it takes, and a partition with the first layer personal."""
    if name in OWN:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(3)
            module, spec, patterns = OWN[name](), InputSpec((2, 12, 12), 5), ("front*",)
    else:
        named = build_model(name, 10, seed=3)
        module, spec, patterns = named.module, named.input, tuple(named.presets["input-layer"])
    names = [parameter for parameter, _ in module.named_parameters()]
    return module, spec, partition_by_patterns(names, patterns)


def bundle_of(
    name: str,
    runtime: str,
    kinds: tuple[TrainableSet, ...] = EVERY_SET,
    loss: LossSpec = CROSS_ENTROPY,
) -> Bundle:
    """A bundle with gradient graphs for these trainable sets, exported once for a test process."""
    return _exported(name, runtime, kinds, loss)


@cache  # of a function without defaults: it would hold what was left out for something else
def _exported(name: str, runtime: str, kinds: tuple[TrainableSet, ...], loss: LossSpec) -> Bundle:
    module, spec, partition = model(name)
    return export_bundle(
        module,
        name=name,
        input_spec=spec,
        partition=partition,
        schedule=Schedule("parity", tuple(Phase(kind, batch_size=FULL) for kind in kinds)),
        runtimes=[runtime],
        loss=loss,
    )


def runtime_of(
    name: str,
    runtime: str,
    kinds: tuple[TrainableSet, ...] = EVERY_SET,
    loss: LossSpec = CROSS_ENTROPY,
) -> Runtime:
    """The runtime over such a bundle."""
    return _loaded(name, runtime, kinds, loss)


@cache
def _loaded(name: str, runtime: str, kinds: tuple[TrainableSet, ...], loss: LossSpec) -> Runtime:
    return load_runtime(runtime, bundle_of(name, runtime, kinds, loss))


def trained_names(name: str, kind: TrainableSet) -> list[str]:
    """The parameters of a trainable set, in the model's order."""
    module, _, partition = model(name)
    return [n for n, _ in module.named_parameters() if partition.group_of(n) in kind.groups]


def draw(name: str, size: int, padding: int, seed: int, loss: LossSpec = CROSS_ENTROPY) -> Batch:
    """Data and weights in coarse steps: what a pool takes is decided by ties, not by rounding."""
    module, spec, _ = model(name)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(size, generator=generator) + 0.5
    weight[size - padding :] = 0
    x = torch.round(torch.randn(size, *spec.shape, generator=generator) * 2) / 2
    if loss.has_classes:
        y = torch.randint(0, spec.classes, (size,), generator=generator)
    else:
        y = (torch.randn(size, spec.classes, generator=generator) > 0).to(torch.float32)
    parameters = {n: torch.round(p.detach() * 64) / 64 for n, p in module.named_parameters()}
    return Batch(parameters, x, y, weight)


def largest(arrays: Parameters) -> float:
    """The largest magnitude of all."""
    return max(float(np.abs(array).max()) for array in arrays.values())


def assert_gradients_are_torchs(
    runtime: Runtime,
    name: str,
    kind: TrainableSet,
    batch: str,
    loss: LossSpec = CROSS_ENTROPY,
) -> None:
    """Loss, hits and every gradient of one batch, to 1e-5 of the largest; weights only read."""
    data = draw(name, *BATCHES[batch], seed=11, loss=loss)
    wanted = Reference.of(model(name)[0], data, loss)
    given = data.arrays
    for array in given.values():
        array.flags.writeable = False  # as a device has it with what is frozen
    before = {n: a.copy() for n, a in given.items()}
    step = runtime.gradients(kind, given, data.x.numpy(), data.y.numpy(), data.weight.numpy())
    assert list(step.gradients) == trained_names(name, kind)
    assert step.loss == pytest.approx(wanted.loss, rel=TOLERANCE)
    assert step.correct == pytest.approx(wanted.correct, rel=TOLERANCE)
    allowed = TOLERANCE * largest({n: wanted.gradients[n] for n in step.gradients})
    for n, gradient in step.gradients.items():
        np.testing.assert_allclose(gradient, wanted.gradients[n], rtol=0, atol=allowed, err_msg=n)
    for n, array in given.items():
        assert array.tobytes() == before[n].tobytes()


def assert_padding_changes_nothing(runtime: Runtime, name: str, kind: TrainableSet) -> None:
    """A full batch with padding is the batch without it."""
    data, used = draw(name, *BATCHES["padded"], seed=12), FULL - BATCHES["padded"][1]
    arrays = data.x.numpy(), data.y.numpy(), data.weight.numpy()
    padded = runtime.gradients(kind, data.arrays, *arrays)
    cut = runtime.gradients(kind, data.arrays, *(a[:used] for a in arrays))
    assert padded.loss == pytest.approx(cut.loss, rel=1e-6)
    allowed = 1e-6 * largest(cut.gradients)
    for n, gradient in cut.gradients.items():
        np.testing.assert_allclose(padded.gradients[n], gradient, rtol=0, atol=allowed)


STEPS = (*[TrainableSet.PERSONAL] * 8, *[TrainableSet.SHARED] * 4, *[TrainableSet.ALL] * 8)


def assert_twenty_steps_end_where_torchs_end(
    runtime: Runtime, name: str, seed: int, steps: tuple[TrainableSet, ...] = STEPS
) -> None:
    """Weights after three phases, to 1e-4; a frozen weight keeps its bits in each of them.

    Looser than a gradient: where a ReLU's argument or the difference of two values in a pool is
    less than rounding, a runtime may take the other side, and the steps behind it carry that on.
    har-1d has no trajectory here for that reason: with seed 3 all agree to 3e-8 up to step 16, then
    a value 5e-7 from a ReLU's edge falls to one side in torch and to the other in both onnxruntime
    and executorch, and 2e-4 has come of it at step 20.
    """
    batches = [draw(name, FULL, 0, seed=100 * seed + place) for place in range(len(steps))]
    found = _train_on_device(runtime, name, batches, steps)
    for n, array in _train_in_torch(name, batches, steps).items():
        assert not np.array_equal(array, batches[0].arrays[n])
        np.testing.assert_allclose(found[n], array, rtol=0, atol=1e-4, err_msg=n)


def _phases(steps: tuple[TrainableSet, ...]) -> Iterator[tuple[TrainableSet, range]]:
    """The steps in runs of one trainable set, each a phase with a momentum of its own."""
    for kind, group in itertools.groupby(enumerate(steps), key=lambda pair: pair[1]):
        places = [place for place, _ in group]
        yield kind, range(places[0], places[-1] + 1)


def _phase_of(kind: TrainableSet) -> Phase:
    return Phase(kind, learning_rate=0.05, momentum=0.5, weight_decay=1e-3, batch_size=FULL)


def _train_on_device(
    runtime: Runtime, name: str, batches: list[Batch], steps: tuple[TrainableSet, ...]
) -> Parameters:
    weights = {n: a.copy() for n, a in batches[0].arrays.items()}
    for kind, places in _phases(steps):
        frozen = {n: a.tobytes() for n, a in weights.items() if n not in trained_names(name, kind)}
        optimizer = Sgd(_phase_of(kind), {})
        for place in places:
            data = batches[place]
            arrays = data.x.numpy(), data.y.numpy(), data.weight.numpy()
            optimizer.step(weights, runtime.gradients(kind, weights, *arrays).gradients)
        assert all(weights[n].tobytes() == bits for n, bits in frozen.items())
    return weights


def _train_in_torch(name: str, batches: list[Batch], steps: tuple[TrainableSet, ...]) -> Parameters:
    """The same by torch's own optimizer and autograd."""
    module, _, _ = model(name)
    weights = {n: v.clone().requires_grad_(True) for n, v in batches[0].parameters.items()}
    for kind, places in _phases(steps):
        settings = _phase_of(kind)
        trained = [weights[n] for n in trained_names(name, kind)]
        optimizer = torch.optim.SGD(
            trained,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        for place in places:
            data = batches[place]
            logits = torch.func.functional_call(module, weights, (data.x,))
            losses = functional.cross_entropy(logits, data.y, reduction="none")
            loss = (losses * data.weight).sum() / data.weight.sum()
            found = torch.autograd.grad(loss, trained)
            for parameter, gradient in zip(trained, found, strict=True):
                parameter.grad = gradient
            optimizer.step()
    return {n: v.detach().numpy() for n, v in weights.items()}


def assert_refused(runtime: str, layer: nn.Module) -> None:
    """An export of a model with this layer says which layer it is and what to do, in one line."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 5), layer, nn.Linear(5, 3))
    names = [name for name, _ in module.named_parameters()]
    with pytest.raises(ConfigurationError) as caught:
        export_bundle(
            module,
            name="refused",
            input_spec=InputSpec((6,), 3),
            partition=partition_by_patterns(names, ["2.*"]),
            schedule=find_method("fedsim").schedule(Hyperparameters(batch_size=4)),
            runtimes=[runtime],
        )
    said = str(caught.value)
    assert said.startswith(f"1 ({type(layer).__name__})")
    assert "; " in said
    assert "\n" not in said
