from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.runtimes import Runtime, device_of, load_runtime
from pfedfrz_edge.runtimes.aten_graph import (
    ATEN_FORMAT,
    Argument,
    AtenGraph,
    AtenStep,
    Constant,
    Dtype,
    Value,
    encode_aten_graph,
)
from pfedfrz_edge.runtimes.aten_operators import ATEN_OPERATORS
from pfedfrz_edge.runtimes.torch import TorchRuntime, choose_device
from pfedfrz_export import export_bundle
from pfedfrz_models import build_model, resolve_partition
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    Hyperparameters,
    OperationError,
    Parameters,
    TrainableSet,
    find_method,
)

Batch = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    model = build_model("cnn-small", 10, seed=2)
    return export_bundle(
        model.module,
        name="cnn-small",
        input_spec=model.input,
        partition=resolve_partition(model.parameter_names, model.presets, ["head"]),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(batch_size=8)),
        runtimes=["torch", "onnxruntime"],
    )


@pytest.fixture(scope="module")
def runtime(bundle: Bundle) -> Runtime:
    return load_runtime("torch", bundle)


def weights_of(bundle: Bundle) -> Parameters:
    return {name: a for group in Group for name, a in bundle.initial_weights(group).items()}


def batch(size: int) -> Batch:
    random = np.random.default_rng(5)
    x = random.standard_normal((size, 1, 28, 28)).astype(np.float32)
    return x, random.integers(0, 10, size), random.random(size).astype(np.float32) + 0.1


@pytest.mark.parametrize("kind", [TrainableSet.PERSONAL, TrainableSet.ALL])
def test_steps_are_those_of_onnxruntime(
    runtime: Runtime, bundle: Bundle, kind: TrainableSet
) -> None:
    weights, data = weights_of(bundle), batch(9)
    own = runtime.gradients(kind, weights, *data)
    other = load_runtime("onnxruntime", bundle).gradients(kind, weights, *data)
    assert own.loss == pytest.approx(other.loss, rel=1e-5)
    assert own.correct == pytest.approx(other.correct, rel=1e-6)
    assert list(own.gradients) == list(other.gradients)
    largest = max(float(np.abs(g).max()) for g in other.gradients.values())
    for name, gradient in other.gradients.items():
        assert own.gradients[name].dtype == np.float32
        np.testing.assert_allclose(own.gradients[name], gradient, rtol=0, atol=1e-5 * largest)


def test_arguments_are_only_read(runtime: Runtime, bundle: Bundle) -> None:
    weights, data = weights_of(bundle), batch(4)
    copies = {name: a.copy() for name, a in weights.items()}
    for array in (*weights.values(), *data):
        array.flags.writeable = False
    step = runtime.gradients(TrainableSet.ALL, weights, *data)
    for gradient in step.gradients.values():
        gradient += 1
    assert all(np.array_equal(weights[name], copies[name]) for name in weights)


def test_the_same_step_twice_is_the_same_bits(runtime: Runtime, bundle: Bundle) -> None:
    weights, data = weights_of(bundle), batch(8)
    first = runtime.gradients(TrainableSet.ALL, weights, *data)
    second = runtime.gradients(TrainableSet.ALL, weights, *data)
    for name, gradient in first.gradients.items():
        assert np.array_equal(second.gradients[name], gradient)


def test_predictions_do_not_depend_on_how_many_are_asked_for(
    runtime: Runtime, bundle: Bundle
) -> None:
    weights, x = weights_of(bundle), batch(130)[0]
    together = runtime.predict(weights, x)
    one_by_one = np.concatenate([runtime.predict(weights, x[i : i + 1]) for i in range(130)])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-5)
    assert runtime.predict(weights, x[:0]).shape == (0, 10)


def test_a_batch_of_the_wrong_shape_is_a_failure_in_one_line(
    runtime: Runtime, bundle: Bundle
) -> None:
    with pytest.raises(OperationError, match="torch failed at predict") as caught:
        runtime.predict(weights_of(bundle), np.zeros((2, 1, 8, 8), np.float32))
    assert "\n" not in str(caught.value)


def test_a_set_that_was_not_exported_is_refused(runtime: Runtime, bundle: Bundle) -> None:
    with pytest.raises(ConfigurationError, match="no graph for the gradients of shared"):
        runtime.gradients(TrainableSet.SHARED, weights_of(bundle), *batch(2))


def test_loading_sets_the_threads_of_the_process(bundle: Bundle) -> None:
    before = torch.get_num_threads()
    try:
        TorchRuntime.from_bundle(bundle, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_operators_of_the_list_compute_and_nothing_else() -> None:
    for operator in ATEN_OPERATORS:
        name, _, overload = operator.partition(".")
        found = getattr(getattr(torch.ops.aten, name), overload)
        assert not found._schema.is_mutable, operator
        assert torch.Tag.nondeterministic_seeded not in found.tags, operator
        assert all(
            isinstance(r.type, torch.TensorType | torch.ListType) for r in found._schema.returns
        ), operator


def graph_of(*steps: AtenStep, constants: tuple[Constant, ...] = ()) -> bytes:
    """A predict graph over x of `(batch, 4)` whose last value is the logits."""
    last = len(constants) + sum(step.results for step in steps)
    return encode_aten_graph(AtenGraph(ATEN_FORMAT, ("x",), constants, steps, {"logits": last}))


def predicted(*steps: AtenStep, constants: tuple[Constant, ...] = ()) -> NDArray[np.float32]:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    return TorchRuntime({}, graph_of(*steps, constants=constants)).predict({}, x)


X, FIRST = Value(0), Value(1)


def step(operator: str, *arguments: Argument, results: int = 1, **options: Argument) -> AtenStep:
    return AtenStep(operator, arguments, options, results)


def test_sequences_of_results_are_values_of_their_own() -> None:
    halves = step("split.Tensor", X, 2, 1, results=2)
    swapped = step("cat.default", (Value(2), Value(1)), 1)
    assert predicted(halves, swapped).tolist() == [[2, 3, 0, 1], [6, 7, 4, 5]]
    alone = step("split.Tensor", X, 4, 1, results=1)
    assert predicted(alone).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    "steps",
    [
        [step("split.Tensor", X, 2, 1, results=3)],
        [step("mm.default", X, X)],
        [step("add.Tensor", X)],
        [step("add.Tensor", X, X, X, X)],
        [step("cat.default", 1, 0)],
        [step("max_pool2d_with_indices_backward.default", 1, X, X)],
        [step("full.default", (1 << 40, 1 << 40), 1.0)],
        [step("split.Tensor", X, 2, 1, results=2), step("reshape.default", X, (3, 3))],
    ],
    ids=["results", "shapes", "too few", "too many", "types", "own types", "memory", "reshape"],
)
def test_arguments_that_do_not_fit_are_a_failure_in_one_line(steps: list[AtenStep]) -> None:
    with pytest.raises(OperationError, match="torch failed at predict") as caught:
        predicted(*steps)
    assert "\n" not in str(caught.value)


def test_indices_that_lie_outside_are_refused_where_kernels_would_follow_them() -> None:
    outside = Constant.of(np.array([[1 << 40]], dtype=np.int64))
    image = step("reshape.default", X, (1, 1, 2, 4))
    grad = step("full.default", (1, 1, 1, 1), 1.0)
    index = step("reshape.default", Value(1), (1, 1, 1, 1))
    settings: tuple[Argument, ...] = ((2, 2), (2, 2), (0, 0), (1, 1), False)
    pool = step("max_pool2d_with_indices_backward.default", Value(3), Value(2), *settings, Value(4))
    with pytest.raises(OperationError, match="index"):
        predicted(image, grad, index, pool, constants=(outside,))
    rows = step("embedding_dense_backward.default", X, Value(1), 3, -1, False)
    with pytest.raises(OperationError, match="index"):
        predicted(rows, constants=(Constant.of(np.array([0, 7], dtype=np.int64)),))


@pytest.mark.parametrize(
    "backward",
    [
        step("_log_softmax_backward_data.default", X, FIRST, 1, Dtype("float32")),
        step("_softmax_backward_data.default", X, FIRST, 1, Dtype("float32")),
        step("_adaptive_avg_pool2d_backward.default", FIRST, Value(2)),
    ],
    ids=lambda backward: backward.operator,
)
def test_shapes_that_differ_are_refused_where_kernels_do_not_look(backward: AtenStep) -> None:
    narrow = step("full.default", (1, 2, 1, 1), 1.0)
    wide = step("full.default", (9, 9, 9, 9), 1.0)
    with pytest.raises(OperationError, match="a gradient of shape"):
        predicted(narrow, wide, backward)


@pytest.mark.parametrize(
    ("grad", "x", "stride"),
    [
        ((2, 3, 5, 5), (2, 1, 5, 5), 1),
        ((1, 3, 3, 3), (2, 1, 5, 5), 1),
        ((2, 4, 3, 3), (2, 1, 5, 5), 1),
        ((2, 3, 3, 3), (2, 2, 5, 5), 1),
        ((2, 3, 1, 1), (2, 1, 5, 5), 100_000),
        ((2, 3, 3, 3), (2, 1, 5, 5), 0),
    ],
)
def test_a_convolutions_gradient_must_be_of_its_shape(
    grad: tuple[int, ...], x: tuple[int, ...], stride: int
) -> None:
    tensors = [step("full.default", shape, 1.0) for shape in (grad, x, (3, 1, 3, 3))]
    backward = step(
        "convolution_backward.default",
        *(Value(1), Value(2), Value(3), (3,), (stride, stride), (0, 0), (1, 1), False),
        *((0, 0), 1, (True, True, True)),
        results=3,
    )
    with pytest.raises(OperationError, match="convolution"):
        predicted(*tensors, backward)


@pytest.mark.parametrize(
    "wrong",
    [
        step("full.default", (1, 2), 1.0, device="none"),
        step("full.default", (1, 2), 1.0, out=Value(0)),
        step("gelu.default", X, approximate=Value(0)),
        step("relu.default", X, inplace=True),
    ],
    ids=["device", "out", "tensor", "unknown"],
)
def test_options_that_an_operator_does_not_take_are_refused(wrong: AtenStep) -> None:
    with pytest.raises(ConfigurationError, match=r"graph predict gives .* options"):
        predicted(wrong)


def test_a_graph_is_read_when_it_is_first_used(bundle: Bundle) -> None:
    record = bundle.manifest.runtimes["torch"].predict
    runtime = TorchRuntime(dict.fromkeys(TrainableSet, b"no graph"), bundle.content(record))
    assert runtime.predict(weights_of(bundle), batch(2)[0]).shape == (2, 10)
    with pytest.raises(ConfigurationError, match=r"graph gradients of all .* cannot be read"):
        runtime.gradients(TrainableSet.ALL, weights_of(bundle), *batch(2))


def test_an_operator_that_this_torch_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a graph from a newer torch than the board's would have it."""
    from pfedfrz_edge.runtimes import aten_graph

    monkeypatch.setattr(aten_graph, "ATEN_OPERATORS", {"of_the_future.default"})
    with pytest.raises(
        ConfigurationError, match=r"torch .* has no operator of_the_future\.default"
    ):
        predicted(step("of_the_future.default", X))


def test_nothing_in_a_bundle_is_pickled(bundle: Bundle) -> None:
    graphs = bundle.manifest.runtimes["torch"]
    for record in (graphs.predict, *graphs.gradients.values()):
        content: dict[str, Any] = json.loads(bundle.content(record))
        assert set(content) == {"format", "inputs", "constants", "steps", "outputs"}


def test_devices_are_chosen_by_a_setting() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    there = torch.cuda.is_available()
    assert choose_device("auto").type == ("cuda" if there else "cpu")
    for wrong in ("gpu", "meta", "cuda:99", ""):
        with pytest.raises(ConfigurationError, match="compute_device"):
            choose_device(wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_cuda_device_that_is_not_here_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigurationError, match=r"'cuda', but torch .* finds 0 CUDA devices here"):
        load_runtime("torch", bundle, "cuda")


def test_it_says_what_it_computes_on(bundle: Bundle) -> None:
    assert device_of(load_runtime("torch", bundle, "cpu")) == "cpu"


def test_the_compute_device_is_a_setting_of_the_device(tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    path.write_text(
        'federation = "f"\ndevice = "d"\nbundle = "b"\nstate_dir = "s"\nruntime = "torch"\n'
        'compute_device = "cuda:1"\n[data]\ntrain = "t.npz"\n'
    )
    assert load_device_settings(path).compute_device == "cuda:1"
    path.write_text(path.read_text().replace('compute_device = "cuda:1"\n', ""))
    assert load_device_settings(path).compute_device == "auto"


def test_a_bundle_without_graphs_for_torch_is_refused(bundle: Bundle) -> None:
    bare = Bundle(msgspec.structs.replace(bundle.manifest, runtimes={}), bundle.files)
    with pytest.raises(ConfigurationError, match="has no graphs for runtime torch"):
        load_runtime("torch", bare)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from tiny_bundle import make_bundle
import msgspec
from pfedfrz_edge.runtimes import RuntimeMissing, load_runtime
from pfedfrz_protocol import Bundle
bundle = make_bundle()
(graphs,) = bundle.manifest.runtimes.values()
manifest = msgspec.structs.replace(bundle.manifest, runtimes={"torch": graphs})
try:
    load_runtime("torch", Bundle(manifest, bundle.files))
except RuntimeMissing as error:
    print(error)
"""


def test_a_board_without_torch_is_told_how_to_have_it() -> None:
    support = Path(__file__).parents[1] / "support"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(support), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "runtime torch is not installed here" in done.stdout
    assert "pip install 'pfedfrz[torch]'" in done.stdout
