"""A coordinator and what is around it, for the tests that run the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_bundle
from coordinator_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "coordinator", tiny_bundle.make_bundle())
    yield made
    made.close()


@pytest.fixture
def large_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A federation whose shared weights fill four chunks."""
    monkeypatch.setitem(tiny_bundle.SHARED, "head.weight", (400, 500))
    made = Lab(tmp_path / "coordinator", tiny_bundle.make_bundle())
    yield made
    made.close()
