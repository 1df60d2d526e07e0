"""The target `executorch`: one weight-free program with a method per graph."""

from __future__ import annotations

from collections.abc import Mapping

from pfedfrz_edge.runtimes import Runtime
from pfedfrz_edge.runtimes.executorch import ExecutorchRuntime
from pfedfrz_protocol import TrainableSet

from .executorch_lowering import executorch_decompositions, to_executorch
from .target import GraphFile, LoweredGraphs
from .tracing import TracedGraph, TraceRules

__all__ = ["ExecutorchTarget"]

LARGEST_BATCH = 64
"""Samples at a time at most; the runtime cuts larger batches, which costs it nothing."""


class ExecutorchTarget:
    """One program for ExecuTorch with XNNPACK."""

    name = ExecutorchRuntime.name

    def trace_rules(self, batch_size: int) -> TraceRules:
        """Columns and products instead of convolutions, and the batch fixed."""
        return TraceRules(
            executorch_decompositions(),
            batch_size=min(batch_size, LARGEST_BATCH),
            pools_by_axis=False,
        )

    def lower(
        self, gradients: Mapping[TrainableSet, TracedGraph], predict: TracedGraph
    ) -> LoweredGraphs:
        """`executorch/model.pte`, which every graph is in."""
        methods = {f"gradients_{kind.value}": traced for kind, traced in gradients.items()}
        program = to_executorch({"predict": predict, **methods})
        file = GraphFile("executorch/model.pte", program)
        return LoweredGraphs(file, dict.fromkeys(gradients, file), predict.batch_size)

    def runtime(self, graphs: LoweredGraphs) -> Runtime:
        """The device's runtime over the program."""
        return ExecutorchRuntime(graphs.predict.content)
