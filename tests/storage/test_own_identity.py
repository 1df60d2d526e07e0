"""The own key on the disk, and its rotations."""

import stat
from pathlib import Path

import pytest

from pfedfrz_protocol import MAX_SUCCESSIONS, ConfigurationError, follow_successions
from pfedfrz_storage import (
    load_or_make_identity,
    load_signing_key,
    own_identity,
    rotate_identity,
    save_signing_key,
)

OWNER = "lab/device/a"


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "state" / "device.key"
    made = load_or_make_identity(path)
    assert made.successions == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_identity(path).key.public == made.key.public


def test_a_key_that_others_can_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    load_or_make_identity(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=f"mode 0640.*chmod 600 {path}"):
        load_or_make_identity(path)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"device\.key: not an unencrypted private key"):
        load_signing_key(path)


def test_rotations_lead_from_every_key_before(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    keys = [load_or_make_identity(path).key.public]
    for _ in range(MAX_SUCCESSIONS):
        rotated = rotate_identity(path, OWNER)
        keys.append(rotated.key.public)
        assert load_or_make_identity(path).successions == rotated.successions
    assert len(set(keys)) == MAX_SUCCESSIONS + 1
    for pinned in keys:
        assert follow_successions(pinned, keys[-1], rotated.successions, OWNER)
    again = rotate_identity(path, OWNER)
    assert len(again.successions) == MAX_SUCCESSIONS
    assert not follow_successions(keys[0], again.key.public, again.successions, OWNER)


def test_killed_in_mid_rotation_the_old_key_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "device.key"
    first = load_or_make_identity(path).key.public
    second = rotate_identity(path, OWNER).key.public

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(own_identity, "save_signing_key", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate_identity(path, OWNER)
    after = load_or_make_identity(path)
    assert after.key.public == second
    assert follow_successions(first, second, after.successions, OWNER)
    third = rotate_identity(path, OWNER)
    assert follow_successions(first, third.key.public, third.successions, OWNER)


def test_damaged_rotations_are_said(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    rotate_identity(path, OWNER)
    (tmp_path / "device.key.successions").write_text("[")
    with pytest.raises(ConfigurationError, match=r"device\.key\.successions is damaged"):
        load_or_make_identity(path)


def test_a_key_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "device.key"
    key = load_or_make_identity(path).key
    other = tmp_path / "other.key"
    save_signing_key(other, key)
    assert load_signing_key(other).public == key.public
