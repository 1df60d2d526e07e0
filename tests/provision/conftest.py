"""A federation on the disk that no broker runs for."""

from __future__ import annotations

from pathlib import Path

import pytest
from provisioned_lab import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "model.pfz")
