"""How the screen looks: a dark and a light theme of its own, and where everything stands."""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

from .painted import TONE_CSS

__all__ = ["DARK", "LIGHT", "SCREEN_CSS", "THEMES", "fitting_theme"]

DARK = Theme(
    "pfedfrz-dark",
    primary="#7cb2e8",
    success="#7fc79a",
    warning="#e3b96a",
    error="#f0817a",
    foreground="#d4dbe3",
    background="#11161c",
    surface="#18202a",
    panel="#18202a",
    dark=True,
    variables={"dim": "#7d8a98", "cursor": "#263546", "received": "#8fa3c0", "local": "#7cc4bd"},
)
LIGHT = Theme(
    "pfedfrz-light",
    primary="#1c64a8",
    success="#22733f",
    warning="#8a5c00",
    error="#b3261e",
    foreground="#22292f",
    background="#fbfaf7",
    surface="#f0eee8",
    panel="#f0eee8",
    dark=False,
    variables={"dim": "#6a737d", "cursor": "#dbe6f1", "received": "#5b6f8f", "local": "#0f766e"},
)
THEMES = (DARK, LIGHT)

SCREEN_CSS = (
    TONE_CSS
    + """
Screen { background: $background; color: $foreground; }
#head { margin-bottom: 0; }
.panel {
    border-top: solid $cursor; border-title-color: $dim; border-subtitle-color: $dim;
    border-title-style: none; padding: 0;
}
.panel:focus, .panel:focus-within { border-top: solid $primary; border-title-color: $primary; }
#devices { min-height: 4; }
#detail { height: auto; max-height: 2; }
#filter { display: none; height: 1; border: none; padding: 0 1; background: $surface; }
#filter.open { display: block; }
#below { height: 1fr; min-height: 5; }
#below.none { display: none; }
#below .hidden { display: none; }
#history, #log { width: 1fr; height: 100%; }
#rounds { height: 1fr; }
#curves { margin-bottom: 0; }
#log { margin-left: 0; }
#below.both #history { width: 42%; max-width: 84; }
#below.both #log { margin-left: 2; }
#too-small { display: none; content-align: center middle; height: 1fr; }
Screen.-too-small #too-small { display: block; }
Screen.-too-small .whole { display: none; }
Toast { max-width: 60; }
"""
)


def fitting_theme(environment: Mapping[str, str]) -> Theme:
    """The theme for the terminal; dark unless it says that it is light."""
    ground = environment.get("COLORFGBG", "").rpartition(";")[2]
    return LIGHT if ground in ("7", "15") else DARK
