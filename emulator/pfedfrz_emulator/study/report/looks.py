"""How a variant is drawn: by its method's colour and marker; dashed when it trains longer.

Colour never says anything alone: markers differ too, and tables have every number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfedfrz_monitor.report.palette import DARK, LIGHT

from ...experiment import Experiment

__all__ = ["COLOURS", "MARKERS", "Look", "assign_looks"]

COLOURS: tuple[tuple[str, str], ...] = (
    (LIGHT.local, DARK.local),
    (LIGHT.received, DARK.received),
    (LIGHT.attacker, DARK.attacker),
    ("#1a7a4a", "#63c48f"),
    (LIGHT.faint, DARK.faint),
    (LIGHT.warning, DARK.warning),
    ("#5a4fcf", "#b7a4f5"),
    ("#b3261e", "#f08a8a"),
)
"""On a light and on a dark page."""

MARKERS = ("circle", "square", "triangle", "diamond", "cross", "circle", "square", "triangle")

_METHODS = ("pfedfrz", "fedsim", "fedalt", "fedavg", "local", "fedprox", "lg-fedavg", "fedbabu")


@dataclass(frozen=True)
class Look:
    """Number of a colour and marker, and whether the line is dashed."""

    number: int
    dashed: bool


def assign_looks(variants: Sequence[tuple[str, Experiment]]) -> dict[str, Look]:
    """The look of each variant by its label; `variants` has one experiment of each."""
    kinds = [(e.method, e.training.epochs, e.personal) for _, e in variants]
    if len(set(kinds)) == len(kinds) and all(e.method in _METHODS for _, e in variants):
        least = min((e.training.epochs for _, e in variants), default=1)
        return {
            label: Look(_METHODS.index(e.method), e.training.epochs > least)
            for label, e in variants
        }
    # The same method several times: what differs is something else.
    return {
        label: Look(place % len(COLOURS), place >= len(COLOURS))
        for place, (label, _) in enumerate(variants)
    }
