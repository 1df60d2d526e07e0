"""The exported model is one standard file that says what the runtime says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from pfedfrz_edge.runtimes import Runtime
from pfedfrz_edge.use import ModelInUse, export_onnx
from pfedfrz_edge.use.onnx_weights import with_weights
from pfedfrz_protocol import Bundle, ConfigurationError, Group, OperationError, Parameters


@pytest.fixture
def model(wide_bundle: Bundle) -> ModelInUse:
    random = np.random.default_rng(3)
    start = {**wide_bundle.initial_weights(Group.SHARED), **wide_bundle.initial_personal()}
    moved = {
        name: (weight + random.normal(scale=0.1, size=weight.shape)).astype(np.float32)
        for name, weight in start.items()
    }
    return ModelInUse(moved, 7, 0.0)


class Biased:
    """A runtime that is a little off."""

    name = "biased"

    def __init__(self, runtime: Runtime, by: float) -> None:
        self._runtime, self._by = runtime, np.float32(by)

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return self._runtime.predict(parameters, x) + self._by

    gradients = None


def test_it_runs_on_plain_onnxruntime_and_says_the_same(
    tmp_path: Path, model: ModelInUse, wide_bundle: Bundle, wide_runtime: Runtime
) -> None:
    path = tmp_path / "model.onnx"
    written = export_onnx(path, model, wide_bundle, wide_runtime)
    assert written.difference < 1e-5
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (written.bytes, 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    file = onnx.load(path)
    onnx.checker.check_model(file, full_check=True)
    assert [entry.name for entry in file.graph.input] == ["x"]
    assert {entry.domain for entry in file.opset_import} <= {"", "ai.onnx"}
    notes = {entry.key: entry.value for entry in file.metadata_props}
    assert notes["pfedfrz.bundle"] == wide_bundle.manifest.digest
    assert notes["pfedfrz.round"] == "7"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    (logits,) = session.run(None, {"x": x})
    np.testing.assert_allclose(logits, wide_runtime.predict(model.weights, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("by", [0.1, float("nan")])
def test_a_file_that_says_something_else_is_not_written_and_the_old_one_stays(
    tmp_path: Path, model: ModelInUse, wide_bundle: Bundle, wide_runtime: Runtime, by: float
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"of yesterday")
    with pytest.raises(OperationError, match="does not predict what runtime biased does"):
        export_onnx(path, model, wide_bundle, Biased(wide_runtime, by))  # type: ignore[arg-type]
    assert path.read_bytes() == b"of yesterday"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_bundle_without_an_onnx_graph_is_said(
    tmp_path: Path, model: ModelInUse, wide_bundle: Bundle, wide_runtime: Runtime
) -> None:
    graphs = {"torch": wide_bundle.manifest.runtimes["onnxruntime"]}
    manifest = msgspec.structs.replace(wide_bundle.manifest, runtimes=graphs)
    with pytest.raises(ConfigurationError, match=r"has graphs for: torch.*--runtime onnxruntime"):
        export_onnx(tmp_path / "m.onnx", model, Bundle(manifest, wide_bundle.files), wide_runtime)


def predict_graph(bundle: Bundle) -> bytes:
    return bundle.content(bundle.manifest.runtimes["onnxruntime"].predict)


def test_scalars_and_large_and_empty_weights_are_written_as_onnx_reads_them() -> None:
    weights: Parameters = {
        "scalar": np.float32(2.5).reshape(()),
        "\u00fcber": np.arange(100_000, dtype=np.float32).reshape(400, 250),
        "none": np.zeros((0, 3), np.float32),
    }
    inputs = [
        onnx.helper.make_tensor_value_info(f"p.{name}", onnx.TensorProto.FLOAT, array.shape)
        for name, array in weights.items()
    ]
    inputs.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N"]))
    node = onnx.helper.make_node("Identity", ["x"], ["logits"])
    output = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N"])
    graph = onnx.helper.make_graph([node], "g", inputs, [output])
    content = onnx.helper.make_model(graph).SerializeToString()
    made = onnx.load_from_string(with_weights(content, weights, {}))
    read = {entry.name: onnx.numpy_helper.to_array(entry) for entry in made.graph.initializer}
    assert read.keys() == {f"p.{name}" for name in weights}
    for name, array in weights.items():
        np.testing.assert_array_equal(read[f"p.{name}"], array)
        assert read[f"p.{name}"].shape == array.shape


def test_a_weight_that_is_missing_is_said(wide_bundle: Bundle) -> None:
    with pytest.raises(ConfigurationError, match=r"asks for 'p\.[a-z.]+', which is no parameter"):
        with_weights(predict_graph(wide_bundle), {}, {})


def test_no_damage_to_a_graph_raises_anything_else(wide_bundle: Bundle, model: ModelInUse) -> None:
    content = predict_graph(wide_bundle)
    refused = 0
    for length in range(0, len(content), 7):
        try:
            with_weights(content[:length], model.weights, {})
        except ConfigurationError:
            refused += 1
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 0x81
        try:
            with_weights(bytes(damaged), model.weights, {})
        except ConfigurationError:
            refused += 1
    assert refused > len(content) // 7
