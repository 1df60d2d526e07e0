"""The pages of results: every figure of their text is in the study's own tables below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "results-page"
MARKER = "<!-- Below: report.md of the study, by scripts/results-page. -->"
PAGES = [ROOT / "docs" / "results.md", ROOT / "docs" / "results-cnn.md"]
INTERVAL = re.compile(r"(\d+\.\d+) ± (\d+\.\d+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_interval_of_the_text_is_one_of_the_report(page: Path) -> None:
    text, _, report = page.read_text().partition(MARKER)
    known = set(INTERVAL.findall(report))
    told = INTERVAL.findall(text)
    assert len(told) >= 5
    assert [figure for figure in told if figure not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_plots_that_are_there_and_names_its_command(page: Path) -> None:
    text = page.read_text()
    plots = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert plots
    assert all((page.parent / plot).is_file() for plot in plots)
    assert re.search(r"^pfedfrz study [\w-]+ --out runs/[\w-]+$", text, re.M)


def publish(study: Path, page: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(study), str(page)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    study, page = tmp_path / "run", tmp_path / "docs" / "mine.md"
    study.mkdir()
    page.parent.mkdir()
    page.write_text(f"# Mine\n\nMy words.\n\n{MARKER}\n\nan older report\n")
    Image.new("RGB", (30, 20), (200, 10, 10)).save(study / "curves.png")
    (study / "report.md").write_text("# Study: s\n\n## Curves\n\n![c](curves.png)\n")
    for _ in range(2):
        assert publish(study, page).returncode == 0
        assert page.read_text() == (
            f"# Mine\n\nMy words.\n\n{MARKER}\n\n"
            "## Study: s\n\n### Curves\n\n![c](images/mine/curves.png)\n"
        )
    with Image.open(page.parent / "images" / "mine" / "curves.png") as plot:
        assert plot.convert("RGB").getpixel((3, 3)) == (200, 10, 10)


def test_a_page_without_a_place_for_the_report_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    (tmp_path / "report.md").write_text("# Study: s\n")
    said = publish(tmp_path, page)
    assert said.returncode == 1
    assert "no line '<!-- Below" in said.stderr
    assert page.read_text() == "# Mine\n"
