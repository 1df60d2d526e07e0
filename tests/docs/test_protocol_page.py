"""docs/protocol.md: its tables are those of the code, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pfedfrz_protocol import SharedCodec, TensorSpec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "protocol.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_drawn_from_the_code() -> None:
    script = ROOT / "scripts" / "draw_protocol.py"
    done = subprocess.run(
        [sys.executable, str(script), "--print"], capture_output=True, check=True, encoding="utf-8"
    )
    assert done.stdout == TEXT


def test_every_link_leads_to_a_section_or_a_file() -> None:
    titles = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    sections = {title.lower().replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) > 40
    for link in links:
        if link.startswith("#"):
            assert link[1:] in sections, link
        else:
            assert (PAGE.parent / link).exists(), link


def test_every_file_of_vectors_is_named() -> None:
    named = set(re.findall(r"^\| `([a-z-]+\.json)` \|", TEXT, re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs" / "protocol-vectors").iterdir()}


def test_the_bound_on_a_sealed_payload_is_the_codecs() -> None:
    layout = (TensorSpec("head.weight", (64, 10)), TensorSpec("bia\u00df", (10,)))
    decoded = 1024 + 2 * 256 + len(b"head.weight") + len("bia\u00df".encode()) + 4 * 650
    codec = SharedCodec(layout)
    assert codec.max_decoded_bytes == decoded
    found = re.search(r"one 128th of it, plus ([\d ]+) \+ 64 bytes", " ".join(TEXT.split()))
    assert found is not None
    rest = int(found[1].replace(" ", "")) + 64
    assert codec.max_sealed_bytes == decoded + decoded // 128 + rest
