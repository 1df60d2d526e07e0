"""Gradients on plain onnxruntime, from graphs of standard operators whose weights are inputs.

On the CPU, or on a CUDA device where the installed onnxruntime has it (see onnxruntime_providers):
weights and data then travel there and gradients back with every call.

A graph's inputs are named `p.NAME` for a parameter, `x`, `y` and `weight`; its outputs `loss`,
`correct` and `g.NAME`, or `logits`. A graph is fed only what it asks for: one whose frozen weights
do not matter to it simply does not list them. A gradient graph in two parts has features, `f.0`,
`f.1` and so on, as outputs of the one and inputs of the other.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

from pfedfrz_protocol import Bundle, ConfigurationError, OperationError, TrainableSet

from .graph_names import GraphNames
from .graph_runtime import Arrays, Graph, GraphRuntime
from .onnxruntime_providers import CPU, Placement, place_by

__all__ = ["OnnxRuntime"]

log = logging.getLogger(__name__)

# onnxruntime's exceptions share no base class but Exception itself.
_FAULTS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    MemoryError,
    *(
        fault
        for fault in vars(onnxruntime_pybind11_state).values()
        if isinstance(fault, type) and issubclass(fault, Exception)
    ),
)

_ELSEWHERE = re.compile(rb"(?:\x08|\x88\x80*\x00)location")
"""The key of ONNX's external data: the string `location`, behind its length as a varint.

A tensor's content can be anywhere: in any file that this process may read, in the training build
even at an address of its memory. Outputs travel, so a graph must bring along all that it computes
from. No string of a graph of ours is that word alone; names of parameters begin with `p.`.
"""
_SEVERITY_ERROR = 3


class OnnxRuntime(GraphRuntime):
    """The runtime `onnxruntime`."""

    name = "onnxruntime"

    def __init__(
        self,
        gradients: Mapping[TrainableSet, bytes],
        predict: bytes,
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        """ConfigurationError for a device that is not here."""
        self._threads = threads

        def fault_at(placement: Placement) -> str | None:
            try:
                _Graph("predict", predict, threads, placement).load()
            except ConfigurationError as error:
                return str(error)
            return None

        self._placement, why_not = place_by(device, fault_at)
        if why_not:
            log.warning("computing on the CPU: %s", why_not)
        super().__init__(gradients, predict)

    @property
    def device(self) -> str:
        """What it computes on: `cpu`, `cuda` or `cuda:1`."""
        return self._placement.device

    @classmethod
    def from_bundle(cls, bundle: Bundle, *, device: str = "cpu", threads: int = 1) -> OnnxRuntime:
        """The runtime over the graphs that `bundle` carries for it, every one of them loaded."""
        graphs = bundle.manifest.runtimes[cls.name]
        gradients = {kind: bundle.content(record) for kind, record in graphs.gradients.items()}
        predict = bundle.content(graphs.predict)
        runtime = cls(gradients, predict, device=device, threads=threads)
        runtime._take_over(bundle)
        return runtime

    def _graph(self, title: str, content: bytes) -> Graph:
        return _Graph(title, content, self._threads, self._placement)


class _Graph:
    """One graph, its session opened at first use."""

    def __init__(
        self, title: str, content: bytes, threads: int, placement: Placement = CPU
    ) -> None:
        self.title = title
        self._content = content
        self._threads = threads
        self._placement = placement
        self._loaded: tuple[onnxruntime.InferenceSession, GraphNames] | None = None

    def load(self) -> GraphNames:
        """What goes in and comes out (see Graph)."""
        return self._open()[1]

    def run(self, parameters: Arrays, data: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output by name."""
        session, names = self._open()
        feed = {n: parameters[n[2:]] if n.startswith("p.") else data[n] for n in names.inputs}
        try:
            outputs = session.run(names.outputs, feed)
        except _FAULTS as error:
            raise OperationError(f"onnxruntime failed at {self.title}: {_line(error)}") from error
        return dict(zip(names.outputs, outputs, strict=True))

    def _open(self) -> tuple[onnxruntime.InferenceSession, GraphNames]:
        if self._loaded is None:
            session = self._session()
            inputs = tuple(entry.name for entry in session.get_inputs())
            outputs = tuple(entry.name for entry in session.get_outputs())
            self._loaded = session, GraphNames(inputs, outputs)
        return self._loaded

    def _session(self) -> onnxruntime.InferenceSession:
        if _ELSEWHERE.search(self._content):
            raise ConfigurationError(
                f"the graph {self.title} has tensors that lie outside of it, in files or in "
                "memory; such a bundle is not run, export it again"
            )
        placement = self._placement
        options = _session_options(self._threads)
        # On a CUDA device the quickest sums have no order, and so other last bits in every run.
        options.use_deterministic_compute = placement.index is not None
        try:
            session = onnxruntime.InferenceSession(
                self._content,
                options,
                providers=placement.providers,
                # Else it would go on elsewhere by itself, here and when a run fails.
                enable_fallback=0,
            )
        except _FAULTS as error:
            remedy = (
                "install a newer onnxruntime or export the bundle again"
                if placement.index is None
                else 'mend what it names, or set compute_device = "cpu"'
            )
            raise ConfigurationError(
                f"onnxruntime {onnxruntime.__version__} cannot load the graph {self.title} on "
                f"{placement.device}: {_line(error)}; {remedy}"
            ) from error
        session.disable_fallback()  # older releases do not know the argument
        placement.require_real(session)
        return session


@functools.cache
def _share_arena() -> None:
    """Let all sessions of this process take their memory from one arena.

    Each session's own arena keeps what the largest step needed; graphs that take turns, as those
    of a schedule do, need it only once.
    """
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    with contextlib.suppress(*_FAULTS):  # another user of onnxruntime here registered one: fine
        onnxruntime.create_and_register_allocator(memory, None)


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    _share_arena()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    # A board has other work to do than to wait in a loop for the next step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # One arena serves every graph; a pattern for each keeps its peak for it alone (16 to 25 MiB for
    # resnet-gn), and steps were measured to be no slower without.
    options.enable_mem_pattern = False
    # Not onnxruntime's own format either, which it would tell by the first bytes.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _line(error: Exception) -> str:
    """The first line of a message, which onnxruntime follows with traces and paths."""
    return (str(error).splitlines() or [type(error).__name__])[0]
