"""An emulated board; these tests are run by scripts/test-arm64, which makes its root."""

from __future__ import annotations

import os

if "PFEDFRZ_ARM64_ROOT" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
