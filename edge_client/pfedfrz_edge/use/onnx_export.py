"""A device's model as one standard ONNX file, for whatever else runs on the board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import Bundle, ConfigurationError, InputSpec, OperationError
from pfedfrz_storage import put_in_place, write_beside

from ..runtimes import Runtime, RuntimeMissing
from .model_in_use import ModelInUse
from .onnx_weights import with_weights

__all__ = ["ExportedModel", "export_onnx"]

_SOURCES = ("onnxruntime", "onnxruntime-training")
"""Runtimes whose graph for predicting is ONNX of standard operators."""
_CHECKED_BATCHES = (1, 5)
_TOLERANCE = 1e-4
"""Of the largest output: the two may fold constants differently."""


@dataclass(frozen=True)
class ExportedModel:
    """The file that was written."""

    path: Path
    bytes: int
    difference: float
    """The largest one that was found to what the runtime predicts, of the largest output."""


def export_onnx(path: Path, model: ModelInUse, bundle: Bundle, runtime: Runtime) -> ExportedModel:
    """Write the model to `path`, mode 0600, after it was compared with `runtime` on random input.

    The file has one input `x`, float32 `(samples, *shape)`, and one output `logits`. Raises
    ConfigurationError when the bundle has no such graph, RuntimeMissing without onnxruntime, and
    OperationError when the two do not agree or the disk refuses: then nothing is written.
    """
    source = next((name for name in _SOURCES if name in bundle.manifest.runtimes), None)
    if source is None:
        held = ", ".join(bundle.manifest.runtimes) or "none"
        raise ConfigurationError(
            f"the bundle has no ONNX graph (it has graphs for: {held}); export it with "
            "--runtime onnxruntime as well"
        )
    notes = {"pfedfrz.bundle": bundle.manifest.digest, "pfedfrz.round": str(model.round or 0)}
    graph = bundle.content(bundle.manifest.runtimes[source].predict)
    content = with_weights(graph, model.weights, notes)
    partial = write_beside(path, content, mode=0o600)
    try:
        difference = _difference(partial, model, bundle.manifest.input, runtime)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    put_in_place({partial: path})
    return ExportedModel(path, len(content), difference)


def _difference(path: Path, model: ModelInUse, spec: InputSpec, runtime: Runtime) -> float:
    """How far the file on the disk is from the runtime; OperationError when it is too far."""
    session = _session(path)
    inputs = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    if (inputs, outputs) != (["x"], ["logits"]):
        raise OperationError(f"the exported model has inputs {inputs} and outputs {outputs}; "
                             "nothing was written")  # fmt: skip
    largest = 0.0
    for number, batch in enumerate(_CHECKED_BATCHES):
        x = _random_samples(spec, batch, seed=number)
        expected = runtime.predict(model.weights, x)
        (found,) = session.run(outputs, {"x": x})
        scale = max(float(np.abs(expected).max()), 1e-6)
        difference = float(np.abs(found - expected).max()) / scale
        if found.shape != expected.shape or not difference <= _TOLERANCE:
            raise OperationError(
                f"the exported model does not predict what runtime {runtime.name} does "
                f"(difference {difference:.1e} of the largest output, {_TOLERANCE:g} is allowed); "
                "nothing was written"
            )
        largest = max(largest, difference)
    return largest


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissing(
            "the exported model is checked with onnxruntime, which is not installed here; "
            "run: pip install 'pfedfrz[onnxruntime]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no other base
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise OperationError(f"onnxruntime cannot load the exported model: {line}") from error


def _random_samples(spec: InputSpec, samples: int, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    shape = (samples, *spec.shape)
    if spec.tokens is not None:
        return random.integers(spec.tokens, size=shape).astype(np.float32)
    return random.normal(size=shape).astype(np.float32)
