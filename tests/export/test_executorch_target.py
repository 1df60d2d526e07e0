"""Programs for ExecuTorch as an export makes them: verified, weight-free, refused where wrong."""

from __future__ import annotations

import sys

import msgspec
import pytest
import torch
from executorch_bundles import BATCH, CLASSES, bundle_for, network, trained_by
from torch import nn

from pfedfrz_export import TOLERANCE, VerificationFailed, export_bundle
from pfedfrz_export.decompositions import DecompositionTable
from pfedfrz_export.executorch_lowering import executorch_decompositions
from pfedfrz_export.executorch_lowering.lowering import prepared
from pfedfrz_export.executorch_target import COLUMNS_BYTES, ExecutorchTarget
from pfedfrz_export.tracing import TracedGraph, TraceOptions, trace
from pfedfrz_export.training_step import TensorFunction, gradient_function, predict_function
from pfedfrz_export.verification import verify
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Hyperparameters,
    InputSpec,
    TrainableSet,
    decode_manifest,
    encode_manifest,
    find_method,
    partition_by_patterns,
    read_bundle,
    write_bundle,
)

pytestmark = pytest.mark.executorch

aten = torch.ops.aten


def traces(
    module: nn.Module, spec: InputSpec, table: DecompositionTable
) -> tuple[dict[TrainableSet, TracedGraph], TracedGraph]:
    names = [name for name, _ in module.named_parameters()]
    options = TraceOptions(table, batch_size=4, pools_by_axis=False)
    step = trace(gradient_function(module.train(), spec, names), options)
    predict = trace(predict_function(module.eval(), spec), options)
    return {TrainableSet.ALL: step}, predict


def traced(function: TensorFunction) -> TracedGraph:
    options = TraceOptions(executorch_decompositions(), batch_size=4, pools_by_axis=False)
    return trace(function, options)


def export(module: nn.Module, spec: InputSpec, personal: str) -> Bundle:
    names = [name for name, _ in module.named_parameters()]
    return export_bundle(
        module,
        name="tried",
        input_spec=spec,
        partition=partition_by_patterns(names, [personal]),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(batch_size=4)),
        runtimes=["executorch"],
    )


def products(traced: TracedGraph) -> int:
    return sum(
        node.target in (aten.mm.default, aten.addmm.default, aten.bmm.default)
        for node in prepared(traced).graph.nodes
    )


def test_every_graph_is_a_method_of_one_file() -> None:
    bundle = bundle_for("cnn-small")
    graphs = bundle.manifest.runtimes["executorch"]
    assert set(graphs.gradients) == {TrainableSet.PERSONAL, TrainableSet.ALL}
    assert {graphs.predict, *graphs.gradients.values()} == {graphs.predict}
    assert graphs.predict.file == "executorch/model.pte"
    again = read_bundle(write_bundle(bundle.manifest, bundle.files), "again")
    assert again == bundle


def test_the_program_holds_no_weights() -> None:
    bundle = bundle_for("cnn-small")
    program = bundle.content(bundle.manifest.runtimes["executorch"].predict)
    weights = bundle.initial_weights(next(iter(bundle.manifest.weights)))
    assert all(array.tobytes()[:64] not in program for array in weights.values())
    assert len(program) < 250_000


def test_the_batch_is_cut_into_equal_parts_that_fit_the_columns() -> None:
    assert bundle_for("mlp").manifest.runtimes["executorch"].batch_size == BATCH
    module, spec = network("cnn-small")
    step = gradient_function(module, spec, [name for name, _ in module.named_parameters()])
    target = ExecutorchTarget()
    # The largest columns are those of the second convolution's gradient: 12 x 12 pixels.
    sample_bytes = 12 * 12 * 25 * 32 * 4
    size = target.trace_options(step, 32).batch_size
    assert size is not None
    assert sample_bytes * size <= COLUMNS_BYTES < sample_bytes * 16
    assert size == 11
    assert target.trace_options(step, 5).batch_size == 5


def test_a_frozen_graph_has_no_backward_work_for_what_is_frozen() -> None:
    module, spec = network("cnn-small")
    head = ["fc2.weight", "fc2.bias"]
    predict = traced(predict_function(module.eval(), spec))
    personal = traced(gradient_function(module.train(), spec, head))
    everything = traced(gradient_function(module, spec, [n for n, _ in module.named_parameters()]))
    forward = products(predict)
    assert products(personal) == forward + 1  # the gradient of the head's weight
    # Every weight's gradient, and the gradient by every layer's input but the first's.
    assert products(everything) == forward + 4 + 3
    gathers = [
        sum(node.target is aten.index_select.default for node in prepared(t).graph.nodes)
        for t in (predict, personal)
    ]
    assert gathers[0] == gathers[1]


def test_a_network_of_every_kind_of_layer_is_exported_and_verified() -> None:
    bundle = bundle_for("every-kind")
    assert trained_by(bundle, TrainableSet.PERSONAL) == ["head.weight", "head.bias"]


def test_verification_refuses_the_pool_backward_that_the_package_brings() -> None:
    """Its kernel adds to memory that it does not clear (ExecuTorch 1.4.1 and 1.5.1)."""
    stock = executorch_decompositions()
    del stock[aten.max_pool2d_with_indices.default]
    del stock[aten.max_pool2d_with_indices_backward.default]
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Flatten(1), nn.Linear(3 * 5 * 5, CLASSES)
    )
    spec = InputSpec((1, 12, 12), CLASSES)
    target = ExecutorchTarget()
    lowered = target.lower(*traces(module, spec, stock))
    assert b"max_pool2d_with_indices_backward" in lowered.predict.content
    names = {TrainableSet.ALL: [name for name, _ in module.named_parameters()]}
    with pytest.raises(VerificationFailed, match="gradient of '0") as refusal:
        verify(target.runtime(lowered), module.train(), spec, names, 4)
    error = float(str(refusal.value).split(" by ")[1].split(" ")[0])
    assert error > 1e3 * TOLERANCE


def test_an_operator_without_a_kernel_is_refused_by_its_layer() -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sort(1).values

    module = nn.Sequential(nn.Linear(6, 5), Sorted(), nn.Linear(5, CLASSES))
    with pytest.raises(ConfigurationError, match=r"^1 \(Sorted\) cannot be exported .*sort"):
        export(module, InputSpec((6,), CLASSES), "2.*")


def test_buffers_of_a_model_are_part_of_the_program() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor([0.5, 2.0, 3.0]))
            self.head = nn.Linear(3, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x * self.scale)

    bundle = export(Scaled(), InputSpec((3,), CLASSES), "head.bias")
    assert [row.name for row in bundle.manifest.parameters] == ["head.weight", "head.bias"]


def test_without_the_package_the_refusal_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, spec = network("mlp")
    gradients, predict = traces(module, spec, executorch_decompositions())
    monkeypatch.setitem(sys.modules, "executorch", None)
    monkeypatch.delitem(
        sys.modules, "pfedfrz_export.executorch_lowering.partitioning", raising=False
    )
    with pytest.raises(ConfigurationError, match=r"pip install 'pfedfrz\[export,executorch\]'"):
        ExecutorchTarget().lower(gradients, predict)


def test_a_manifest_with_two_contents_of_one_file_is_refused() -> None:
    bundle = bundle_for("mlp")
    graphs = bundle.manifest.runtimes["executorch"]
    other = msgspec.structs.replace(graphs.predict, sha256="0" * 64)
    runtimes = {"executorch": msgspec.structs.replace(graphs, predict=other)}
    manifest = msgspec.structs.replace(bundle.manifest, runtimes=runtimes)
    with pytest.raises(ConfigurationError, match="two records of one file"):
        decode_manifest(encode_manifest(manifest))
