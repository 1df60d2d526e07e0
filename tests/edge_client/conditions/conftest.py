"""A tree of system files for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from system_tree import SystemTree


@pytest.fixture
def tree(tmp_path: Path) -> SystemTree:
    return SystemTree(tmp_path)
