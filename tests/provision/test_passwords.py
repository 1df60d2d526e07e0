"""Mosquitto's form of a password, against what `mosquitto_passwd` wrote."""

from __future__ import annotations

import base64

from pfedfrz_provision.passwords import hash_password, new_password


def test_the_hash_is_the_one_that_mosquitto_makes() -> None:
    salt = base64.b64decode("VP6+vwz8hYMtwjP3")
    assert hash_password("secret", salt) == (
        "$7$101$VP6+vwz8hYMtwjP3$R+T8ZmLQ9ZkAyOm8F3cXl73KIpirkZzaH44iZQrFfNma+/gwApKGIOrLOhvnPixG8"
        "QPszaA+GVuXNVGoL4dPAQ=="
    )


def test_no_two_passwords_or_salts_are_the_same() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    assert min(map(len, passwords)) == 43
    assert len({hash_password("secret") for _ in range(20)}) == 20
