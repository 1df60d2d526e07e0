from __future__ import annotations

from pathlib import Path

import pytest

from pfedfrz_emulator.datasets.cache import default_cache_dir


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "pfedfrz" / "datasets"


@pytest.mark.parametrize("configured", ["", "relative/path"])
def test_an_empty_or_relative_setting_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, configured: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", configured)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "pfedfrz" / "datasets"
