"""Which layer of a model an operator of its trace came from, for messages to people."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import fx, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

__all__ = ["LayerTrail", "layer_of", "layers_noted"]

_KEY = "pfedfrz_layer"


class LayerTrail:
    """The layers that are being run right now, outermost first, as `conv1 (Conv2d)`."""

    def __init__(self) -> None:
        self.running: list[str] = []

    @property
    def innermost(self) -> str:
        """The layer that was being run when tracing stopped."""
        return self.running[-1] if self.running else "the model"


@contextlib.contextmanager
def layers_noted(module: nn.Module) -> Iterator[LayerTrail]:
    """While this is open, every operator traced in a layer's forward remembers the layer."""
    trail = LayerTrail()
    starts: list[int] = []

    def enter(_layer: nn.Module, _arguments: Any, *, title: str) -> None:
        trail.running.append(title)
        starts.append(len(_nodes()))

    def leave(_layer: nn.Module, _arguments: Any, _result: Any) -> None:
        title, start = trail.running.pop(), starts.pop()
        for node in _nodes()[start:]:
            node.meta.setdefault(_KEY, title)

    handles = []
    for name, layer in module.named_modules():
        title = f"{name or 'the model'} ({type(layer).__name__})"

        def enter_titled(layer: nn.Module, arguments: Any, title: str = title) -> None:
            enter(layer, arguments, title=title)

        handles.append(layer.register_forward_pre_hook(enter_titled))
        handles.append(layer.register_forward_hook(leave))
    try:
        yield trail
    finally:
        for handle in handles:
            handle.remove()


def layer_of(node: fx.Node) -> str:
    """The layer that `node` came from, or for backward work the nearest one that feeds it."""
    seen, queue = {node}, [node]
    for candidate in queue:
        if _KEY in candidate.meta:
            found: str = candidate.meta[_KEY]
            return found if candidate is node else f"the backward of {found}"
        for source in candidate.all_input_nodes:
            if source not in seen:
                seen.add(source)
                queue.append(source)
    return "the model"


def _nodes() -> list[fx.Node]:
    mode = get_proxy_mode()
    return list(mode.tracer.graph.nodes) if mode is not None else []
