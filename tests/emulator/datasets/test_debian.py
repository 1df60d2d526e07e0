from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfedfrz_emulator.datasets.debian import DebianPackage
from pfedfrz_emulator.datasets.published import SourceUnavailable

if TYPE_CHECKING:
    from tests.emulator.datasets.conftest import Tiny

PACKAGE = DebianPackage("dataset-tiny", "usr/share/datasets/tiny")


def test_files_are_read_from_an_archive_or_its_absence_is_said(tiny: Tiny, tmp_path: Path) -> None:
    root = tmp_path / "root"
    tiny.write(root / "usr/share/datasets/tiny", packed=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: dataset-tiny\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: tiny\n"
    )
    archive = tmp_path / "tiny.deb"
    if shutil.which("dpkg-deb") is None:
        with pytest.raises(SourceUnavailable, match="dpkg-deb is not installed"):
            PACKAGE.read_archive(archive, tiny.dataset.files)
        return
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", root, archive], check=True, capture_output=True
    )
    assert PACKAGE.read_archive(archive, tiny.dataset.files) == tiny.contents


def test_without_apt_the_source_is_unavailable(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable, match="apt-get is not installed"):
        PACKAGE.fetch(tiny.dataset.files)
