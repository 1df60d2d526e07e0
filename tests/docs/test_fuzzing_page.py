"""docs/fuzzing.md has a row for every target, and its commands are ones that scripts/fuzz takes."""

from __future__ import annotations

import re
from pathlib import Path

from targets import target_names

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fuzzing.md").read_text()


def test_the_table_has_every_target_and_its_sum() -> None:
    rows = dict(re.findall(r"^\| (\w+) +\| +([\d,]+) \|", PAGE, re.MULTILINE))
    assert sorted(rows) == target_names()
    total = sum(int(number.replace(",", "")) for number in rows.values())
    assert f"{total:,} executions in all" in PAGE


def test_its_options_are_those_of_the_script() -> None:
    script = (ROOT / "tests" / "fuzz" / "campaign.py").read_text()
    script += (ROOT / "scripts" / "fuzz").read_text()
    for option in set(re.findall(r"scripts/fuzz.*?(--[a-z]+)", PAGE)):
        assert f'"{option}"' in script or f"= {option} ]" in script, option
