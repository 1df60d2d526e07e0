"""The colours of a report, the same in the page and in the PNG plots.

Blue and orange stay apart in every common form of colour blindness; whatever colour says is also
said by a marker, a line style or a word.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DARK", "LIGHT", "Palette"]


@dataclass(frozen=True)
class Palette:
    """Colours as `#rrggbb`."""

    background: str
    surface: str
    text: str
    faint: str
    """Secondary text: at least 4.5 to 1 on the background."""
    line: str
    received: str
    local: str
    attacker: str
    warning: str

    def triple(self, name: str) -> str:
        """The colour as `r g b`, for CSS that adds its own opacity."""
        value: str = getattr(self, name)
        return " ".join(str(int(value[start : start + 2], 16)) for start in (1, 3, 5))


LIGHT = Palette(
    background="#fbfbfa",
    surface="#ffffff",
    text="#1c2126",
    faint="#5b656e",
    line="#dfe3e6",
    received="#c05a00",
    local="#0b68ad",
    attacker="#96327f",
    warning="#8a5a00",
)

DARK = Palette(
    background="#14171a",
    surface="#1b1f23",
    text="#e7eaec",
    faint="#9aa5ae",
    line="#30363c",
    received="#f2a45c",
    local="#6cb6f0",
    attacker="#df96cf",
    warning="#e8c06a",
)
