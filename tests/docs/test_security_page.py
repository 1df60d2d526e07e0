"""docs/security.md names tests as proofs: they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text(encoding="utf-8")


def names_in(path: Path) -> set[str]:
    """The names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def test_every_proof_is_a_test_that_there_is() -> None:
    """`::name` alone is in the file that was named last."""
    file: Path | None = None
    proofs = 0
    for name, test in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", TEXT):
        file = ROOT / name if name else file
        if not (name or test):
            continue
        assert file is not None
        assert file.is_file(), file
        if test:
            proofs += 1
            assert test in names_in(file), f"{file}::{test}"
    assert proofs > 25


def test_every_claim_of_the_tables_has_a_proof() -> None:
    claims = re.findall(r"^\| cannot \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert len(claims) == 4
    for row in "".join(claims).splitlines():
        proof = row.split("|")[3]
        assert "`tests/" in proof or proof.strip() == "the same", row


def test_every_link_leads_to_a_page() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)
    assert len(links) >= 5
    assert not [link for link in links if not (PAGE.parent / link).exists()]


def test_what_it_says_of_the_defaults_is_so() -> None:
    from pfedfrz_coordinator.admission import EnrolmentPolicy, QuarantinePolicy
    from pfedfrz_coordinator.validation import ValidationPolicy

    flat = " ".join(TEXT.split())
    assert f"permit_join_s = {EnrolmentPolicy().permit_join_s:.0f}" in flat
    assert f"after {QuarantinePolicy().failures} failures in a row" in flat
    assert "`max_update_norm` is off unless set" in flat
    assert ValidationPolicy().max_update_norm is None
