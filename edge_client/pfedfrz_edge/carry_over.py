"""What a device keeps to itself, taken from one bundle over to the next.

By name and shape. A weight that the new bundle shares has no place among the personal ones, so what
was personal never comes into what is sent: shared weights come from the coordinator alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pfedfrz_protocol import Bundle, Parameters
from pfedfrz_protocol.messages import MAX_TEXT
from pfedfrz_protocol.one_line import one_line

__all__ = ["CarriedOver", "carry_over"]

_MOST_NAMED = 6


@dataclass(frozen=True)
class CarriedOver:
    """Weights to begin with, and where each is from."""

    weights: Parameters
    """Everything that the new bundle keeps to the device."""
    carried: tuple[str, ...]
    """The device's own, as they were."""
    received: tuple[str, ...]
    """Shared until now: they begin as they were last received."""
    fresh: tuple[str, ...]
    """From the new bundle."""
    left: tuple[str, ...]
    """The device's own that the new bundle has no place for; they stay where they are."""

    @property
    def line(self) -> str:
        """All of it as one line for people."""
        parts = [f"{len(self.carried)} personal weights carried over"]
        for text, names in (
            ("begin as last received", self.received),
            ("begin as in the bundle", self.fresh),
            ("have no place and stay with the bundle of before", self.left),
        ):
            if names:
                parts.append(f"{len(names)} {text}: {_named(names)}")
        return one_line("; ".join(parts), MAX_TEXT)  # names are the bundle's


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def carry_over(
    bundle: Bundle,
    personal: Parameters,
    shared: Parameters,
    earlier: Parameters,
) -> CarriedOver:
    """What a device begins with in `bundle`.

    `personal` are its weights of the bundle before, `shared` that bundle's as they were last
    received, and `earlier` its own from when it had the new bundle once before.
    """
    weights = bundle.initial_personal()
    carried, received, fresh = list[str](), list[str](), list[str]()
    for name, initial in weights.items():
        for source, into in ((personal, carried), (earlier, carried), (shared, received)):
            found = source.get(name)
            if found is not None and found.shape == initial.shape and found.dtype == initial.dtype:
                weights[name] = found.copy()
                into.append(name)
                break
        else:
            fresh.append(name)
    left = (
        name
        for name, own in personal.items()
        if name not in weights or weights[name].shape != own.shape
    )
    return CarriedOver(weights, tuple(carried), tuple(received), tuple(fresh), tuple(left))
