"""Which half of the weights a parameter belongs to.

A *partition* is decided once, when a bundle is exported: glob patterns on parameter names say what
is personal, the rest is shared. `Partition` records both the patterns and what they matched, so
that a bundle can be read without the rule that made it.
"""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Iterable, Sequence

import msgspec

from .errors import ConfigurationError

__all__ = ["Group", "Partition", "TensorSpec", "partition_by_patterns", "uniform_partition"]


class Group(str, enum.Enum):
    """The half of the weights that a parameter belongs to."""

    SHARED = "shared"
    """Exchanged through the coordinator."""
    PERSONAL = "personal"
    """Never leaves its device."""


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, shape and dtype of one tensor; the dtype is always float32 in this format version."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count


class Partition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The personal and the shared parameter names, each in the model's own order."""

    personal: tuple[str, ...]
    shared: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    """The rule that made it: globs or the name of a preset, for people to read."""

    def group_of(self, name: str) -> Group:
        """The group of a parameter; KeyError when the partition does not know the name."""
        if name in self.personal:
            return Group.PERSONAL
        if name in self.shared:
            return Group.SHARED
        raise KeyError(name)


def partition_by_patterns(names: Sequence[str], personal: Iterable[str]) -> Partition:
    """The partition whose personal group is every name that matches one of the glob patterns.

    Raises ConfigurationError, listing the names, when a pattern matches nothing or when either
    group would be empty: both are what a misspelt pattern looks like.
    """
    patterns = tuple(personal)
    listing = ", ".join(names)
    if not patterns:
        raise ConfigurationError(f"no personal pattern given; the parameters are: {listing}")
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ConfigurationError(
                f"personal pattern {pattern!r} matches no parameter; the parameters are: {listing}"
            )
    chosen = {n for n in names for p in patterns if fnmatch.fnmatchcase(n, p)}
    rest = tuple(n for n in names if n not in chosen)
    if not rest:
        raise ConfigurationError(
            f"personal pattern {' '.join(patterns)!r} takes every parameter and leaves nothing to "
            f"share (use method local for that); the parameters are: {listing}"
        )
    return Partition(tuple(n for n in names if n in chosen), rest, patterns)


def uniform_partition(names: Sequence[str], group: Group) -> Partition:
    """The partition that puts every parameter in one group, as FedAvg (shared) and Local do."""
    every = tuple(names)
    if group is Group.PERSONAL:
        return Partition(personal=every, shared=(), patterns=("(all personal)",))
    return Partition(personal=(), shared=every, patterns=("(all shared)",))
