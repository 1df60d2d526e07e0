"""What attackers upload in place of what they have trained."""

from __future__ import annotations

from .attack import Attack
from .registry import ATTACKS, find_attack
from .sign_flip import SignFlip

__all__ = ["ATTACKS", "Attack", "SignFlip", "find_attack"]
