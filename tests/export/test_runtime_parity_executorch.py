"""The parity suite on ExecuTorch, and what it says to the kernel that computes wrong gradients.

Most networks are lowered for a minute or more: PFEDFRZ_WHOLE_MATRIX=1 takes them too, and every
trainable set of the others (eight minutes). Their layers are those of `layers`; `cnn-small` is held
to torch by both bindings in tests/edge_client/test_executorch_runtime.py.
"""

from __future__ import annotations

import os

import pytest
import torch
from runtime_parity import (
    BATCHES,
    EVERY_SET,
    FULL,
    LOSSES,
    MODELS,
    STEPS,
    Sorted,
    assert_gradients_are_torchs,
    assert_padding_changes_nothing,
    assert_refused,
    assert_twenty_steps_end_where_torchs_end,
    model,
    runtime_of,
)
from torch import nn

from pfedfrz_edge.runtimes import Runtime
from pfedfrz_export.executorch_lowering import executorch_decompositions
from pfedfrz_export.executorch_target import ExecutorchTarget
from pfedfrz_export.tracing import TraceOptions, trace
from pfedfrz_export.training_step import gradient_function, predict_function
from pfedfrz_protocol import TrainableSet

pytestmark = pytest.mark.executorch

RUNTIME = "executorch"
ALL = (TrainableSet.ALL,)
SETS: dict[str, tuple[TrainableSet, ...]] = {
    "mlp": EVERY_SET,
    "layers": ALL,
    "tied-pool": (TrainableSet.PERSONAL, TrainableSet.ALL),
}
if os.environ.get("PFEDFRZ_WHOLE_MATRIX"):
    SETS = dict.fromkeys(MODELS, EVERY_SET)
CASES = [(name, kind) for name, kinds in SETS.items() for kind in kinds]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("name", "kind"), CASES, ids=[f"{n}-{k.value}" for n, k in CASES])
def test_gradients_are_torchs(name: str, kind: TrainableSet, batch: str) -> None:
    assert_gradients_are_torchs(runtime_of(name, RUNTIME, SETS[name]), name, kind, batch)


@pytest.mark.parametrize("name", SETS)
def test_padding_changes_nothing(name: str) -> None:
    run = runtime_of(name, RUNTIME, SETS[name])
    assert_padding_changes_nothing(run, name, TrainableSet.ALL)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", [n for n in ("mlp", "transformer", "layers") if n in SETS])
def test_twenty_steps_end_where_torchs_end(name: str, seed: int) -> None:
    steps = STEPS if SETS[name] == EVERY_SET else (TrainableSet.ALL,) * len(STEPS)
    run = runtime_of(name, RUNTIME, SETS[name])
    assert_twenty_steps_end_where_torchs_end(run, name, seed, steps)


@pytest.mark.parametrize("batch", ["odd", "padded"])
@pytest.mark.parametrize("loss", LOSSES)
def test_other_losses_have_torchs_gradients_too(loss: str, batch: str) -> None:
    spec, kind = LOSSES[loss], TrainableSet.ALL
    run = runtime_of("mlp", RUNTIME, (kind,), spec)
    assert_gradients_are_torchs(run, "mlp", kind, batch, spec)


@pytest.mark.parametrize("layer", [Sorted(), nn.BatchNorm1d(5)], ids=lambda v: type(v).__name__)
def test_what_it_cannot_carry_is_refused_with_the_layer_and_the_remedy(layer: nn.Module) -> None:
    assert_refused(RUNTIME, layer)


def test_the_suite_finds_the_pool_backward_that_the_package_brings() -> None:
    """Its kernel adds to memory that it does not clear (ExecuTorch 1.4.1 and 1.5.1).

    The very assertion that all runtimes pass, over a program that was lowered with the kernel.
    """
    table = executorch_decompositions()
    del table[torch.ops.aten.max_pool2d_with_indices.default]
    del table[torch.ops.aten.max_pool2d_with_indices_backward.default]
    module, spec, _ = model("tied-pool")
    options = TraceOptions(table, batch_size=FULL, pools_by_axis=False)
    names = [name for name, _ in module.named_parameters()]
    step = trace(gradient_function(module.train(), spec, names), options)
    predict = trace(predict_function(module.eval(), spec), options)
    target = ExecutorchTarget()
    lowered = target.lower({TrainableSet.ALL: step}, predict)
    assert b"max_pool2d_with_indices_backward" in lowered.predict.content
    run = target.runtime(lowered)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        _check_every_batch(run)


def _check_every_batch(runtime: Runtime) -> None:
    # More than once: what is added to is what an earlier call left in the memory.
    for batch in BATCHES:
        assert_gradients_are_torchs(runtime, "tied-pool", TrainableSet.ALL, batch)
