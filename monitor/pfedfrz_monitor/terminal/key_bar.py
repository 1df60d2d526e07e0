"""The last line: which keys there are, and which of them cannot be used and why."""

from __future__ import annotations

from pfedfrz_protocol import DesiredState

from .pieces import Line, Tone
from .summary import Summary

__all__ = ["key_bar"]

_LOOKING = (("?", "help"), ("q", "quit"), ("s", "sort"), ("/", "filter"), ("v", "view"))


def key_bar(now: Summary, width: int, *, may_act: bool, why_not: str = "no operator key") -> Line:
    """The keys in one line; those that do not fit are in the help."""
    pause = "resume" if now.desired is DesiredState.PAUSE else "pause"
    acting = (("p", pause), ("a", "accept"), ("x", "quarantine"), ("m", "readmit"), ("X", "revoke"))
    line: Line = [(" ", Tone.PLAIN)]
    room = width - 1
    for key, word in _LOOKING:
        room = _add(line, key, word, room, Tone.WORK, Tone.PLAIN)
    if may_act:
        for key, word in acting:
            room = _add(line, key, word, room, Tone.WORK, Tone.PLAIN)
        return line
    names = [f"{key} {word}" for key, word in acting]
    for said in ("  ".join(names), " ".join(key for key, _ in acting)):
        if len(said) + len(why_not) + 3 <= room:
            line.append((f"{said}  ({why_not})", Tone.DIM))
            break
    return line


def _add(line: Line, key: str, word: str, room: int, key_tone: Tone, word_tone: Tone) -> int:
    need = len(key) + len(word) + 3
    if need > room:
        return 0
    line += [(key, key_tone), (f" {word}  ", word_tone)]
    return room - need
