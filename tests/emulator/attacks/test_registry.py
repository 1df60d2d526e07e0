from __future__ import annotations

import pytest

from pfedfrz_emulator.attacks import ATTACKS, SignFlip, find_attack
from pfedfrz_protocol import ConfigurationError


def test_every_attack_is_found_by_its_own_name() -> None:
    assert find_attack("sign-flip") == SignFlip(1.0)
    assert all(find_attack(name).name == name for name in ATTACKS)


def test_an_unknown_attack_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="unknown attack 'flip'; the attacks are: sign-"):
        find_attack("flip")
