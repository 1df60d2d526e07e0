"""The target `onnxruntime`: one ONNX model of standard operators per graph."""

from __future__ import annotations

from collections.abc import Mapping

from pfedfrz_edge.runtimes import Runtime
from pfedfrz_edge.runtimes.onnxruntime import OnnxRuntime
from pfedfrz_protocol import TrainableSet

from .decompositions import DecompositionTable, standard_decompositions
from .onnx_lowering import to_onnx
from .target import GraphFile, LoweredGraphs
from .tracing import TracedGraph

__all__ = ["OnnxruntimeTarget"]


class OnnxruntimeTarget:
    """Graphs for plain onnxruntime."""

    name = OnnxRuntime.name

    def decompositions(self) -> DecompositionTable:
        """The standard table."""
        return standard_decompositions()

    def lower(
        self, gradients: Mapping[TrainableSet, TracedGraph], predict: TracedGraph
    ) -> LoweredGraphs:
        """`onnx/predict.onnx` and one `onnx/gradients_SET.onnx` for each trainable set."""
        return LoweredGraphs(
            GraphFile("onnx/predict.onnx", to_onnx(predict, "predict")),
            {
                kind: GraphFile(f"onnx/gradients_{kind.value}.onnx", to_onnx(traced, "gradients"))
                for kind, traced in gradients.items()
            },
        )

    def runtime(self, graphs: LoweredGraphs) -> Runtime:
        """The device's runtime over the models."""
        gradients = {kind: file.content for kind, file in graphs.gradients.items()}
        return OnnxRuntime(gradients, graphs.predict.content)
