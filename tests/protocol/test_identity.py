"""Keys, what they sign, and how they hand over."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key_of

from pfedfrz_protocol import (
    MAX_SUCCESSIONS,
    ConfigurationError,
    SigningKey,
    Succession,
    follow_successions,
    make_succession,
    verifies,
)

A, B, C = key_of("a"), key_of("b"), key_of("c")
OWNER = "lab/device/a"


def test_a_signature_is_good_for_its_key_purpose_and_data_alone() -> None:
    signature = A.sign("message/t", b"data")
    assert verifies(A.public, "message/t", b"data", signature)
    assert not verifies(B.public, "message/t", b"data", signature)
    assert not verifies(A.public, "message/u", b"data", signature)
    assert not verifies(A.public, "message/t", b"Data", signature)
    # Moving the border between purpose and data makes another statement.
    assert not verifies(A.public, "message", b"/tdata", signature)
    assert not verifies(A.public, "message/t", b"data", signature[:-1])
    assert not verifies(A.public, "message/t", b"data", bytes([signature[0] ^ 1]) + signature[1:])


@given(st.text(max_size=70), st.binary(max_size=70))
def test_whatever_the_key_and_the_signature_are_the_answer_is_no(key: str, noise: bytes) -> None:
    assert not verifies(key, "p", b"data", noise)
    assert not verifies(A.public, "p", b"data", noise)


@pytest.mark.parametrize("key", ["00" * 32, "ff" * 32, "01" + "00" * 31])
def test_a_key_that_is_no_point_or_a_weak_one_verifies_nothing(key: str) -> None:
    assert not verifies(key, "p", b"data", bytes(64))


def test_rfc_8032_test_1_is_the_same_key() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey.from_seed(seed).public == public


def test_a_private_key_is_the_same_after_its_file_and_never_shows_itself() -> None:
    pem = A.to_pem()
    assert SigningKey.from_pem(pem).public == A.public
    assert repr(A) == f"SigningKey(public={A.public!r})"
    assert pem.decode().splitlines()[1] not in repr(A) + str(A.__dict__)


UNKNOWN_ALGORITHM = (
    b"-----BEGIN PRIVATE KEY-----\nMBQCAQAwCQYHKgMEBQYHCAQEAAAAAA==\n-----END PRIVATE KEY-----\n"
)


@pytest.mark.parametrize(
    "pem", [b"", b"nothing", A.to_pem()[:60], A.to_pem()[:-40], UNKNOWN_ALGORITHM]
)
def test_what_is_no_private_key_is_said(pem: bytes) -> None:
    with pytest.raises(ConfigurationError, match="not an unencrypted private key"):
        SigningKey.from_pem(pem)


def test_two_new_keys_differ() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public


def test_a_chain_of_rotations_leads_to_the_key_in_use_from_wherever_one_stood() -> None:
    links = (make_succession(A, B.public, OWNER), make_succession(B, C.public, OWNER))
    for pinned in (A, B, C):
        assert follow_successions(pinned.public, C.public, links, OWNER)
    assert not follow_successions(C.public, A.public, links, OWNER)
    assert not follow_successions(B.public, A.public, links, OWNER)
    assert not follow_successions(A.public, C.public, links[1:], OWNER)


def test_a_rotation_that_the_old_key_did_not_sign_leads_nowhere() -> None:
    forged = make_succession(C, C.public, OWNER)
    forged = msgspec.structs.replace(forged, previous=A.public)
    assert not follow_successions(A.public, C.public, (forged,), OWNER)
    foreign = make_succession(A, C.public, "lab/device/b")
    assert not follow_successions(A.public, C.public, (foreign,), OWNER)
    assert not follow_successions(
        A.public, C.public, (Succession(A.public, C.public, "0" * 128),), OWNER
    )


def test_a_chain_that_is_too_long_is_not_followed_to_its_end() -> None:
    keys = [key_of(f"key {n}") for n in range(MAX_SUCCESSIONS + 3)]
    links = [make_succession(old, new.public, OWNER) for old, new in itertools.pairwise(keys)]
    assert follow_successions(keys[0].public, keys[MAX_SUCCESSIONS].public, links, OWNER)
    assert not follow_successions(keys[0].public, keys[-1].public, links, OWNER)
