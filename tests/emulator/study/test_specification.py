from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from study_records import small_study, small_tables

from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.study.cohort import StudyFolders
from pfedfrz_emulator.study.specification import Study, parse_study, read_study
from pfedfrz_emulator.study.study_run import check_data
from pfedfrz_protocol import ConfigurationError


def faults_of(**changes: Any) -> list[str]:
    """The faults that the changed study is refused for, one for each line."""
    with pytest.raises(ConfigurationError) as caught:
        parse_study(small_tables(**changes), "small.toml")
    text = str(caught.value).removeprefix("small.toml: ")
    head, *lines = text.split("\n")
    return [line.strip() for line in lines] if lines else [head]


def base(**changes: Any) -> dict[str, Any]:
    return {**small_tables()["base"], **changes}


def one(**settings: Any) -> list[dict[str, Any]]:
    return [{"label": "it", **settings}]


def test_a_study_is_every_combination_with_every_seed_and_variant() -> None:
    study = small_study()
    assert len(study.cells) == 2 * 3 * 3
    assert study.variants == ("pFedFrz", "FedSim", "FedSim, two epochs")
    assert study.grid == ("alpha", "attackers")
    assert {cell.group for cell in study.cells} == {
        "alpha = 0.5, attackers = 0",
        "alpha = 0.5, attackers = 2",
    }
    two_epochs = next(cell for cell in study.cells if cell.variant == "FedSim, two epochs")
    assert two_epochs.experiment.training.epochs == 2
    assert two_epochs.experiment.rounds == 4
    assert len({cell.digest for cell in study.cells}) == len(study.cells)


def test_like_is_run_with_like_so_that_early_results_compare() -> None:
    first = small_study().cells[:3]
    assert {cell.experiment.seed for cell in first} == {0}
    assert [cell.variant for cell in first] == ["pFedFrz", "FedSim", "FedSim, two epochs"]


def test_a_variant_can_be_kept_to_some_combinations() -> None:
    variants = [*one(method="local", only={"attackers": [2]}), {"label": "x", "method": "fedavg"}]
    study = small_study(variants=variants)
    found = {(cell.variant, cell.experiment.attackers) for cell in study.cells}
    assert found == {("it", 2), ("x", 0), ("x", 2)}


def test_combinations_can_be_left_out() -> None:
    grid = {"alpha": [0.1, 100.0], "attackers": [0, 1, 2]}
    study = small_study(grid=grid, skip=[{"alpha": [100.0], "attackers": [1, 2]}])
    found = {(cell.experiment.alpha, cell.experiment.attackers) for cell in study.cells}
    assert found == {(0.1, 0), (0.1, 1), (0.1, 2), (100.0, 0)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sedes": [1]}, "unknown key 'sedes' (the keys are: about, base, "),
        ({"base": {"lr": 1}}, "[base] unknown key 'lr' (the keys are: aggregation, alpha, "),
        ({"base": {"faults": "harsh"}}, "[base] unknown key 'faults'"),
        ({"base": {"training": {"lr": 1}}}, "[base] training unknown key 'lr'"),
        ({"base": 3}, "[base]: want a table"),
        ({"base": {"training": 3}}, "[base] training: want a table"),
        ({"grid": {"alhpa": [1]}}, "[grid] unknown key 'alhpa'"),
        ({"grid": {"seed": [1]}}, "[grid] unknown key 'seed'"),
        ({"grid": {"alpha": 0.1}}, "[grid] alpha: want a list of values"),
        ({"seeds": [0, 0]}, "seeds = [0, 0]: want a list of whole numbers from 0, none twice"),
        ({"seeds": [True]}, "seeds = [True]: want a list of whole numbers"),
        ({"measure_every": 0}, "measure_every = 0: want 1 or more"),
        ({"form": "gpu"}, "form = 'gpu': want one of auto, eager, stacked, device"),
        ({"variants": []}, "[[variants]]: want one or more, each with a label"),
        ({"variants": [{"method": "local"}]}, "[[variants]] 1: label is missing"),
        (
            {"variants": one(method="local") + one(method="fedavg")},
            "[[variants]] 2: label 'it' is there twice",
        ),
        (
            {"variants": one(method="local", only={"attackers": [1]})},
            "[[variants]] 'it' only: attackers = [1]: want a list of values of the grid",
        ),
        (
            {"skip": [{"attackers": [1]}]},
            "[[skip]]: attackers = [1]: want a list of values of the grid",
        ),
        (
            {"skip": {"attackers": [2]}},
            "[[skip]]: want tables of settings of the grid",
        ),
        ({"variants": one(method="fedsgd")}, "unknown method 'fedsgd'"),
        (
            {"variants": one(method="pfedfrz", personal=["front", "head"])},
            "leaves nothing to share",
        ),
        ({"variants": one(method="fedavg", personal=["head"])}, "leave --personal out"),
        ({"base": base(attackers=5), "grid": {}}, "5 attackers among 5 devices"),
        (
            {"base": base(aggregation="bulyan:attackers=1")},
            "needs 7 clients, this fleet selects 5",
        ),
        (
            {"base": base(devices=20, participants=6, aggregation="bulyan:attackers=1")},
            "needs 7 clients, this fleet selects 6",
        ),
        ({"base": base(rounds="many")}, "Expected `int`, got `str`"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    assert any(said in fault for fault in faults_of(**changes))


def test_all_faults_are_told_at_once_each_one_once() -> None:
    found = faults_of(
        sedes=[1],
        base=base(lr=1),
        variants=[*one(method="fedsgd"), {"label": "b", "method": "pfedfrz", "personal": ["all"]}],
    )
    assert len(found) == 4
    assert found[0].startswith("unknown key 'sedes'")
    assert found[1].startswith("[base] unknown key 'lr'")
    assert found[2].startswith("'it' at alpha = 0.5, attackers = 0 and 1 other combination: unkno")
    assert found[3].startswith("'b' at alpha = 0.5, attackers = 0 and 1 other combination: person")


def test_data_that_do_not_fit_are_found_before_anything_is_trained(tmp_path: Path) -> None:
    study = small_study(
        grid={},
        variants=[
            {"label": "wrong model", "method": "local", "model": "har-1d"},
            {"label": "too many devices", "method": "local", "devices": 1500, "iid": True},
            {"label": "right", "method": "local"},
        ],
    )
    with pytest.raises(ConfigurationError) as caught:
        check_data(study, StudyFolders(tmp_path))
    lines = str(caught.value).split("\n")
    assert lines[0] == "small: 2 faults"
    assert "'wrong model': dataset digits" in lines[1]
    assert "'too many devices': device" in lines[2]


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    with pytest.raises(ConfigurationError, match="cells; 100000 are the most"):
        small_study(grid={"alpha": [0.1 + i for i in range(200)], "samples": list(range(2, 202))})


def test_a_cell_is_found_again_by_what_it_is_and_not_by_its_place() -> None:
    def digests(study: Study) -> set[str]:
        return {cell.digest for cell in study.cells}

    assert digests(small_study(seeds=[0, 1])) < digests(small_study(seeds=[2, 1, 0]))
    changed = small_study(base=base(samples=21))
    assert not digests(changed) & digests(small_study())


def test_files_are_read_and_their_faults_name_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[base]\ndataset = "digits"\n[[variants]]\nlabel = "a"\nmethod = "local"\n')
    study = read_study(path)
    assert study.name == "mine"
    assert study.cells[0].experiment == msgspec.structs.replace(
        Experiment(), dataset="digits", method="local"
    )
    path.write_text("[base\n")
    with pytest.raises(ConfigurationError, match=f"{path}: not TOML"):
        read_study(path)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_study(tmp_path / "other.toml")


def test_form_that_is_no_text_is_a_fault_like_any_other() -> None:
    with pytest.raises(ConfigurationError, match=r"form = \[100\]: want one of"):
        parse_study({"form": [100], "variants": [{"label": "a"}]}, "it.toml")


def test_choice_of_no_values_of_what_is_not_varied_is_a_fault() -> None:
    variant = {"label": "a", "only": {"rounds": []}}
    with pytest.raises(ConfigurationError, match=r"rounds = \[\]: want a list of values"):
        parse_study({"variants": [variant]}, "it.toml")
