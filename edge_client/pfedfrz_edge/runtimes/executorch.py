"""Gradients on ExecuTorch, from one program whose weights are inputs.

The program has a method `predict` and a method `gradients_SET` for each trainable set, and one,
`signature`, that returns JSON in bytes: which ExecuTorch the program was made for, and the names of
every method's inputs and outputs as in the graphs of the other runtimes (`p.NAME`, `x`, `y`,
`weight`; `loss`, `correct`, `g.NAME`, or `logits`).

A method takes exactly as many samples as it was exported for. A smaller batch is filled up with
samples of weight zero, which add nothing to any sum; a larger one is cut, and since every part's
loss is divided by its own weights, the parts add up weighted by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Manifest,
    OperationError,
    TrainableSet,
    decode_json,
)

from .base import Labels, StepResult
from .executorch_memory import planned_bytes
from .executorch_program import Binding, MethodLayouts, Program, find_binding, installed_version
from .graph_names import DATA, GraphNames, gradient_outputs, named_logits, named_step
from .machine_memory import memory_of_machine

__all__ = ["ExecutorchRuntime"]

Arrays = Mapping[str, NDArray[np.float32]]


class ExecutorchRuntime:
    """The runtime `executorch`."""

    name = "executorch"

    def __init__(self, content: bytes, *, threads: int = 1, binding: Binding | None = None) -> None:
        """Over the program in `content`; by the binding of this machine if none is given."""
        self.binding = find_binding() if binding is None else binding
        _check_memory(content)
        self._program = self.binding.load(content, threads)
        self._methods = _methods(self._program)
        self.batch_size = self._samples()

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, threads: int = 1) -> ExecutorchRuntime:
        """The runtime over the program that `bundle` carries for it."""
        graphs = bundle.manifest.runtimes[cls.name]
        runtime = cls(bundle.content(graphs.predict), threads=threads)
        if runtime.batch_size != graphs.batch_size:
            raise ConfigurationError(
                f"{graphs.predict.file} takes {runtime.batch_size} samples at a time, the manifest "
                f"says {graphs.batch_size}; export the bundle again"
            )
        runtime._check("predict", bundle.manifest, ("x",), ("logits",))
        for kind in graphs.gradients:
            outputs = gradient_outputs(bundle.manifest, kind)
            runtime._check(f"gradients_{kind.value}", bundle.manifest, DATA, outputs)
        return runtime

    def _check(
        self, method: str, manifest: Manifest, data: Sequence[str], outputs: Sequence[str]
    ) -> None:
        """Raise ConfigurationError unless a method fits the bundle's model, every size of it."""
        if method not in self._methods:
            raise ConfigurationError(
                f"the ExecuTorch program has no method {method!r}, which the manifest asks for; "
                "export the bundle again"
            )
        title = f"{method} for runtime {self.name}"
        names, layouts = self._methods[method], self._program.layouts(method)
        names.check(title, [row.name for row in manifest.parameters], data, outputs)
        sizes = {
            f"{letter}.{row.name}": row.shape for row in manifest.parameters for letter in "pg"
        }
        sizes["x"] = (self.batch_size, *manifest.input.shape)
        sizes["logits"] = (self.batch_size, manifest.input.classes)
        for name, layout in (
            *zip(names.inputs, layouts.inputs, strict=True),
            *zip(names.outputs, layouts.outputs, strict=True),
        ):
            if layout.shape != sizes.get(name, layout.shape):
                raise ConfigurationError(
                    f"the graph {title} has {name!r} of shape {layout.shape}, the bundle's model "
                    f"{sizes[name]}; export the bundle again"
                )

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Arrays,
        x: NDArray[np.float32],
        y: Labels,
        weight: NDArray[np.float32],
    ) -> StepResult:
        """Loss, hits and gradients on one batch (see Runtime)."""
        method = f"gradients_{trainable.value}"
        if method not in self._methods:
            raise ConfigurationError(
                f"runtime {self.name}: the bundle has no graph for the gradients of "
                f"{trainable.value}; export it for a schedule that trains them"
            )
        parts = [
            part for part in self._parts(len(y)) if weight[part].any() or len(y) <= self.batch_size
        ]
        total = weight.sum(dtype=np.float64)
        loss, correct = 0.0, 0.0
        gradients: dict[str, NDArray[np.float32]] = {}
        for part in parts:
            outputs = self._run(
                method, parameters, {"x": x[part], "y": y[part], "weight": weight[part]}
            )
            step = named_step(method, outputs, parameters)
            share = float(weight[part].sum(dtype=np.float64) / total) if len(parts) > 1 else 1.0
            loss += share * step.loss
            correct += step.correct
            for name, gradient in step.gradients.items():
                if len(parts) > 1:
                    gradient *= np.float32(share)
                held = gradients.setdefault(name, gradient)
                if held is not gradient:
                    held += gradient
        return StepResult(loss, correct, gradients)

    def predict(self, parameters: Arrays, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits, `(batch, classes) float32`, of x, `(batch, *shape) float32`."""
        parts = []
        for part in self._parts(len(x)):
            outputs = self._run("predict", parameters, {"x": x[part]})
            logits = named_logits("predict", outputs, self.batch_size)
            parts.append(logits[: len(x[part])])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, samples: int) -> list[slice]:
        """Slices of at most the batch size; one for no samples at all."""
        return [
            slice(start, min(start + self.batch_size, samples))
            for start in range(0, max(1, samples), self.batch_size)
        ]

    def _run(
        self, method: str, parameters: Arrays, data: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[np.float32]]:
        names = self._methods[method]
        filled = {name: self._filled(array) for name, array in data.items()}
        inputs = [
            parameters[name[2:]] if name.startswith("p.") else filled[name] for name in names.inputs
        ]
        return dict(zip(names.outputs, self._program.run(method, inputs), strict=True))

    def _filled(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array with zeros behind it, up to the batch size."""
        missing = self.batch_size - len(array)
        if not missing:
            return array
        return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])

    def _samples(self) -> int:
        layouts = self._program.layouts("predict").inputs
        shape = layouts[self._methods["predict"].inputs.index("x")].shape
        if not shape or not shape[0]:
            raise ConfigurationError(
                "the ExecuTorch program takes no samples at a time; export the bundle again"
            )
        return shape[0]


class _MethodNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    executorch: str
    methods: dict[str, _MethodNames]


def _check_memory(content: bytes) -> None:
    wanted, there = planned_bytes(content), memory_of_machine()
    if wanted > there:
        raise ConfigurationError(
            f"the ExecuTorch program takes {wanted >> 20} MiB of memory, this machine has "
            f"{there >> 20} MiB; export the bundle for smaller batches or a smaller model"
        )


def _methods(program: Program) -> dict[str, GraphNames]:
    """The names of what goes into each method and comes out, as the program itself says them."""
    if "signature" not in program.methods:
        raise ConfigurationError(
            "the ExecuTorch program was not made by pfedfrz: it has no method 'signature'; "
            "export the bundle with --runtime executorch"
        )
    try:
        (content,) = program.run("signature", [])
        signature = decode_json(content.tobytes(), _Signature)
    except (msgspec.DecodeError, ValueError, OperationError) as error:
        raise ConfigurationError(
            f"the ExecuTorch program was made by another version of pfedfrz ({error}); "
            "export the bundle again"
        ) from error
    if signature.executorch != installed_version():
        raise ConfigurationError(
            f"the bundle was exported for executorch {signature.executorch}, but "
            f"{installed_version()} is installed; install that version "
            f"(pip install --no-deps executorch=={signature.executorch}) or export again"
        )
    methods = {n: GraphNames(m.inputs, m.outputs) for n, m in signature.methods.items()}
    if "predict" not in methods or "x" not in methods["predict"].inputs:
        raise ConfigurationError("the ExecuTorch program has no method 'predict'; export it again")
    for name, names in methods.items():
        if name not in program.methods or not _counts_agree(names, program.layouts(name)):
            raise ConfigurationError(
                f"the ExecuTorch program has no method {name!r} as its signature describes it; "
                "export the bundle again"
            )
    return methods


def _counts_agree(names: GraphNames, layouts: MethodLayouts) -> bool:
    counts = len(layouts.inputs), len(layouts.outputs)
    return (len(names.inputs), len(names.outputs)) == counts
