"""All files or none, whatever refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfedfrz_protocol import OperationError
from pfedfrz_provision.changes import NewFile, apply_changes, remove_partial


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"/"
        for path in root.rglob("*")
    }


def test_files_and_folders_have_their_modes(tmp_path: Path) -> None:
    root = tmp_path / "made"
    apply_changes(root, {"a/secret": NewFile(b"1"), "public": NewFile(b"2", 0o644)})
    assert everything(root) == {"a": b"/", "a/secret": b"1", "public": b"2"}
    modes = {name: (root / name).stat().st_mode & 0o777 for name in ("", "a", "a/secret", "public")}
    assert modes == {"": 0o755, "a": 0o700, "a/secret": 0o600, "public": 0o644}


def test_what_was_more_open_is_closed_by_its_new_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "secret").chmod(0o644)
    apply_changes(tmp_path, {"secret": NewFile(b"new")})
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_refusal_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "b").write_bytes(b"no folder")
    before = everything(tmp_path)
    changes = {"file": NewFile(b"new"), "a/new": NewFile(b"x"), "b/c": NewFile(b"y")}
    with pytest.raises(OperationError, match="cannot write"):
        apply_changes(tmp_path, changes)
    assert everything(tmp_path) == before


def test_an_interrupt_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        apply_changes(tmp_path / "root", {"a/b": NewFile(b"x")})
    assert everything(tmp_path) == {}


def test_what_a_kill_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".key.partial-0123").write_bytes(b"half")
    (tmp_path / "a" / "key").write_bytes(b"whole")
    remove_partial(tmp_path)
    assert everything(tmp_path) == {"a": b"/", "a/key": b"whole"}
