"""How a source of samples is named: `train.npz`, `npz:PATH`, `folder:PATH`, `csv:PATH`,
`factory:FILE.py:FUNCTION` or `factory:PACKAGE.MODULE:FUNCTION`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pfedfrz_protocol import ConfigurationError

__all__ = ["SourceAddress", "SourceKind", "parse_address"]

_PREFIX = re.compile(r"([A-Za-z-]+):")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class SourceKind(str, enum.Enum):
    """What kind of source it is: the prefix."""

    NPZ = "npz"
    FOLDER = "folder"
    CSV = "csv"
    FACTORY = "factory"


@dataclass(frozen=True)
class SourceAddress:
    """A source's kind and place."""

    kind: SourceKind
    place: str
    """A path, or a module's name."""
    function: str = ""
    """Of a factory."""

    @property
    def path(self) -> Path | None:
        """Where it is in the file system; None for a module."""
        is_module = self.kind is SourceKind.FACTORY and not self.place.endswith(".py")
        return None if is_module else Path(self.place)

    def below(self, directory: Path) -> SourceAddress:
        """The same with a relative path starting at `directory`."""
        path = self.path
        return self if path is None else replace(self, place=str(directory / path))

    def __str__(self) -> str:
        if self.kind is SourceKind.FACTORY:
            return f"factory:{self.place}:{self.function}"
        return f"{self.kind.value}:{self.place}"


def parse_address(text: str) -> SourceAddress:
    """The address in `text`; ConfigurationError, without the text, for one that is none."""
    found = _PREFIX.match(text)
    if found is None:
        place, kind = text, SourceKind.NPZ
    else:
        place = text[found.end() :]
        try:
            kind = SourceKind(found[1])
        except ValueError:
            raise ConfigurationError(
                f"no source is called {found[1]!r}; want PATH.npz, npz:PATH, folder:PATH, "
                "csv:PATH or factory:FILE.py:FUNCTION (a file of that name: ./NAME)"
            ) from None
    if not place or "\0" in place:
        raise ConfigurationError(f"{kind.value}: wants a path behind it")
    if kind is SourceKind.FACTORY:
        return _parse_factory(place)
    return SourceAddress(kind, place)


def _parse_factory(text: str) -> SourceAddress:
    place, _, function = text.rpartition(":")
    is_place = place.endswith(".py") or _MODULE.fullmatch(place)
    if not is_place or not function.isidentifier():
        raise ConfigurationError(
            "a factory is FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION, as in "
            "factory:sensors.py:samples"
        )
    return SourceAddress(SourceKind.FACTORY, place, function)
