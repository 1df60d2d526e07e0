"""The report of a study whose records are written by hand: every number can be checked by hand."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from page_reader import Page
from study_records import WORK, finished, linear, small_study, small_tables

from pfedfrz_emulator.study.device_work import passes_per_round
from pfedfrz_emulator.study.report import (
    Basis,
    Comparison,
    StudyResults,
    Verdict,
    collect,
    compare_all,
    write_study_report,
)
from pfedfrz_emulator.study.report.attack_costs import attack_costs
from pfedfrz_emulator.study.results import CellRecord
from pfedfrz_emulator.study.specification import CellRequest, Study
from pfedfrz_monitor.report.records import Moment

COMMAND = "pfedfrz study small.toml"


def results_of(study: Study, record: Callable[[CellRequest], CellRecord] = linear) -> StudyResults:
    return collect(study, [record(cell) for cell in study.cells], WORK, COMMAND)


def find(found: tuple[Comparison, ...], basis: Basis, attackers: int = 0) -> Comparison:
    (one,) = (
        c for c in found if (c.basis, c.moment, c.attackers) == (basis, Moment.RECEIVED, attackers)
    )
    return one


def test_work_is_phases_weighed_by_step_times() -> None:
    results = results_of(small_study())
    work = {cell.label: cell.work_per_round for cell in results.cells}
    assert work == {"pFedFrz": 1.5, "FedSim": 1.0, "FedSim, two epochs": 2.0}
    passes = {cell.label: passes_per_round(cell.record.experiment) for cell in results.cells}
    assert passes == {"pFedFrz": 2, "FedSim": 1, "FedSim, two epochs": 2}
    uniform = small_study(variants=[{"label": "a", "method": "fedavg", "epochs": 3}])
    assert WORK.per_round(uniform.cells[0].experiment) == 3.0


def test_a_baseline_is_read_on_three_bases() -> None:
    found = compare_all(results_of(small_study()))
    # After round 4: 0.74 + 0.01 seed against 0.64; against 0.70 with two epochs; and at work
    # 4 * 1.5 = 6 of FedSim, its round 6: 0.66.
    assert find(found, Basis.EPOCHS).differences == pytest.approx((0.10, 0.11, 0.12))
    assert find(found, Basis.PASSES).differences == pytest.approx((0.04, 0.05, 0.06))
    assert find(found, Basis.WORK).differences == pytest.approx((0.08, 0.09, 0.10))
    assert {c.baseline for c in found} == {"FedSim"}
    assert find(found, Basis.PASSES).read == "FedSim, two epochs"
    assert all(c.verdict is Verdict.HOLDS for c in found if c.moment is Moment.RECEIVED)
    assert all(c.verdict is Verdict.UNDECIDED for c in found if c.moment is Moment.LOCAL)
    assert not any(c.falls_short for c in found)


def test_a_baseline_that_ends_before_the_work_is_done_is_said_to_fall_short() -> None:
    variants = small_tables()["variants"]
    variants[1]["rounds"] = 4
    found = compare_all(results_of(small_study(variants=variants)))
    comparison = find(found, Basis.WORK)
    assert comparison.falls_short
    assert comparison.work_share == pytest.approx(4 / 6)
    assert comparison.differences == pytest.approx((0.10, 0.11, 0.12))


def test_seeds_are_paired_and_those_without_a_partner_left_out() -> None:
    study = small_study()
    records = [
        linear(cell)
        for cell in study.cells
        if (cell.variant, cell.experiment.seed) != ("FedSim", 1)
    ]
    results = collect(study, records, WORK, COMMAND)
    comparison = find(compare_all(results), Basis.EPOCHS)
    assert comparison.seeds == (0, 2)
    assert comparison.differences == pytest.approx((0.10, 0.12))
    assert results.missing == 2


def test_only_methods_with_the_same_partition_and_settings_are_compared() -> None:
    variants = [
        {"label": "pFedFrz", "method": "pfedfrz", "personal": ["front"]},
        {"label": "FedSim head", "method": "fedsim", "personal": ["head"]},
        {"label": "FedSim median", "method": "fedsim", "aggregation": "median"},
        {"label": "Local", "method": "local"},
    ]
    study = small_study(variants=variants)
    steps = dict(WORK.steps)
    steps["mlp on digits, personal head, batches of 32"] = next(iter(steps.values()))
    records = [finished(cell, {4: 0.5}) for cell in study.cells]
    found = compare_all(collect(study, records, type(WORK)("", steps), COMMAND))
    assert {c.baseline for c in found} == {"Local"}


def test_the_cost_of_an_attack_is_paired_too() -> None:
    def record(cell: CellRequest) -> CellRecord:
        lost = 0.1 if cell.variant == "pFedFrz" else 0.3 + 0.01 * cell.experiment.seed
        return finished(cell, {4: 0.9 - lost * (cell.experiment.attackers > 0)})

    costs = attack_costs(results_of(small_study(), record), "alpha = 0.5", "front")
    received = {cost.label: cost for cost in costs if cost.moment is Moment.RECEIVED}
    assert received["pFedFrz"].loss.mean == pytest.approx(0.1)
    assert received["pFedFrz"].spared is None
    spared = received["FedSim"].spared
    assert spared is not None
    assert spared.mean == pytest.approx(0.21)
    assert received["FedSim"].verdict is Verdict.HOLDS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    study = small_study()
    note = "EMNIST COULD NOT BE HAD"
    noted = Study(*(getattr(study, name) for name in list(vars(study))[:-1]), notes=(note,))
    write_study_report(results_of(noted), directory)
    return directory


def test_the_tables_for_programs_hold_every_cell_round_and_claim(written: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((written / name).read_text())))

    cells, curves, claims = rows("cells.csv"), rows("curves.csv"), rows("claims.csv")
    assert len(cells) == 18
    assert len(curves) == 6 * (2 + 4 + 2)
    assert len(claims) == 2 * 3 * 2
    first = next(r for r in curves if r["variant"] == "FedSim" and r["round"] == "6")
    assert (first["device_work"], first["uploaded_bytes"]) == ("6", "6000")
    assert {r["verdict"] for r in claims} == {"holds", "undecided"}
    epochs = claims[0]
    assert (epochs["basis"], epochs["seeds"]) == ("same epochs per phase", "3")
    assert float(epochs["difference"]) == pytest.approx(0.11)
    assert float(epochs["low"]) < 0.11 < float(epochs["high"])


def test_markdown_and_page_say_the_same_and_what_must_not_be_overlooked(written: Path) -> None:
    markdown = (written / "report.md").read_text()
    page = Page((written / "report.html").read_bytes())
    for part in (
        "EMNIST COULD NOT BE HAD",
        "+11.0 \N{PLUS-MINUS SIGN} 2.5",
        "Where pFedFrz does not win",
        "What the attack costs",
        "+0.00 \N{PLUS-MINUS SIGN} 0.00 undecided",
        COMMAND,
        "seeds: 0, 1, 2",
        "scikit-learn",
    ):
        assert part in markdown, part
        assert part in page.text, part


def test_markdown_shows_every_plot_and_its_tables_are_whole(written: Path) -> None:
    markdown = (written / "report.md").read_text()
    plots = {path.name for path in written.glob("*.png")}
    assert plots == {
        "personalization.png",
        "personalization-attacked.png",
        "robustness.png",
        "work.png",
        "bytes.png",
    }
    assert all(f"({name})" in markdown for name in plots)
    assert all((written / name).read_bytes().startswith(b"\x89PNG") for name in plots)
    lines = markdown.splitlines()
    for place, line in enumerate(lines):
        if line.startswith("| ---"):
            width = line.count("|")
            row = place - 1
            while row < len(lines) and lines[row].startswith("|"):
                assert lines[row].count("|") == width
                row += 1


def test_the_page_stands_alone(written: Path) -> None:
    page = Page((written / "report.html").read_bytes())
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "ping"}
    addresses = [value for _, name, value in page.attributes if name in loading]
    assert all(address.startswith("data:") for address in addresses)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert page.tags.count("svg") >= 10


def test_an_unfinished_study_says_so_in_front(tmp_path: Path) -> None:
    study = small_study()
    results = collect(study, [linear(cell) for cell in study.cells[:4]], WORK, COMMAND)
    write_study_report(results, tmp_path)
    assert "14 of 18 cells are missing" in (tmp_path / "report.md").read_text()


def test_a_study_without_pfedfrz_has_curves_and_no_claims(tmp_path: Path) -> None:
    study = small_study(variants=[{"label": "a", "method": "fedavg"}], grid={})
    records = [finished(cell, {4: 0.5}) for cell in study.cells]
    files = write_study_report(collect(study, records, WORK, COMMAND), tmp_path)
    assert files.comparisons == ()
    assert "does not win" not in files.markdown.read_text()


def test_runs_that_diverged_are_named(tmp_path: Path) -> None:
    def record(cell: CellRequest) -> CellRecord:
        lost = (
            cell.variant == "FedSim" and cell.experiment.attackers > 0 and not cell.experiment.seed
        )
        return msgspec.structs.replace(linear(cell), rejected=30 * lost)

    files = write_study_report(results_of(small_study(), record), tmp_path)
    line = "- FedSim at alpha = 0.5, 40 % attackers: 30 uploads, in 1 of 3 seeds"
    assert line in files.markdown.read_text().splitlines()


def test_what_a_backdoor_reaches_has_a_table(tmp_path: Path) -> None:
    def record(cell: CellRequest) -> CellRecord:
        planted = {"pFedFrz": 0.2, "FedSim": 0.9, "FedSim, two epochs": 0.8}[cell.variant]
        rate = planted + 0.01 * cell.experiment.seed if cell.experiment.attackers else 0.05
        return msgspec.structs.replace(linear(cell), backdoor_success=rate)

    files = write_study_report(results_of(small_study(), record), tmp_path)
    lines = files.markdown.read_text().splitlines()
    table = lines[lines.index("## What the backdoor reaches") :]
    assert "| pFedFrz | 5.0 ± 0.0 | 21.0 ± 2.5 |" in table
    assert "| FedSim | 5.0 ± 0.0 | 91.0 ± 2.5 |" in table
    (cells,) = (path for path in files.markdown.parent.iterdir() if path.name == "cells.csv")
    row = next(csv.DictReader(io.StringIO(cells.read_text())))
    assert row["backdoor_success"] == "0.05"
    without = write_study_report(results_of(small_study()), tmp_path)
    assert "backdoor" not in without.markdown.read_text()
