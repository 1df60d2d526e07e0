"""Attacks by the name that a person gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pfedfrz_protocol import ConfigurationError

from .attack import Attack
from .sign_flip import SignFlip

__all__ = ["ATTACKS", "find_attack"]

ATTACKS: Mapping[str, Attack] = MappingProxyType({"sign-flip": SignFlip()})
"""Every attack at its default strength."""


def find_attack(name: str) -> Attack:
    """The named attack at its default strength; ConfigurationError lists the names."""
    if name not in ATTACKS:
        known = ", ".join(sorted(ATTACKS))
        raise ConfigurationError(f"unknown attack {name!r}; the attacks are: {known}")
    return ATTACKS[name]
