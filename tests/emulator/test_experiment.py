"""Experiments: the defaults, what is refused before anything runs, files with options on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pfedfrz_emulator.experiment import Experiment, load_experiment
from pfedfrz_emulator.splits import DirichletSplit, IidSplit, QuantitySplit
from pfedfrz_protocol import ConfigurationError, Encoding, Hyperparameters


def test_the_defaults_are_the_documented_ones() -> None:
    experiment = Experiment()
    assert (experiment.method, experiment.dataset, experiment.alpha) == ("pfedfrz", "mnist", 0.1)
    assert (experiment.model, experiment.personal) == ("cnn-small", ())
    assert (experiment.devices, experiment.attackers, experiment.rounds) == (10, 0, 10)
    assert (experiment.attack, experiment.runtime) == ("sign-flip", "onnxruntime")
    assert experiment.seed == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "fedsgd"}, "unknown method 'fedsgd'"),
        ({"model": "resnet"}, "unknown model 'resnet'"),
        ({"dataset": "minst"}, "unknown dataset 'minst'"),
        ({"attack": "nap"}, "unknown attack 'nap'"),
        ({"runtime": "tvm"}, "unknown runtime 'tvm'"),
        ({"runtime": ("torch", "tvm")}, "unknown runtime 'tvm'"),
        ({"runtime": ()}, "unknown runtime ''"),
        ({"aggregation": "mode"}, "unknown aggregation rule 'mode'"),
        (
            {"personal": ("fc9.*",)},
            "'fc9.*' matches no parameter; the parameters are: conv1.weight",
        ),
        ({"personal": ("*",)}, "leaves nothing to share"),
        ({"method": "fedavg", "personal": ("head",)}, "leave --personal out"),
        ({"attack": "ipm:size=1"}, "attack ipm: unknown key 'size'"),
        ({"faults": "hars"}, "unknown fault profile 'hars'"),
        ({"faults": "harsh", "devices": 1}, "kills = 2, and the fleet has 1 devices"),
        ({"split": "even"}, "unknown split 'even'"),
        ({"split": "iid", "iid": True}, "iid and split = 'iid' exclude each other"),
        ({"alpha": 0.0}, "alpha = 0.0; want a number above 0"),
        ({"alpha": -1.0}, "alpha = -1.0"),
        ({"alpha": float("nan")}, "alpha = nan"),
        ({"devices": 0}, "devices = 0; want 1 or more"),
        ({"devices": 3, "attackers": 4}, "4 attackers among 3 devices"),
        ({"devices": 3, "attackers": 3}, "at least one device must be benign"),
        ({"attackers": -1}, "attackers = -1"),
        ({"devices": 3, "participants": 4}, "participants = 4; want 0 to 3"),
        ({"rounds": 0}, "rounds = 0"),
        ({"samples": 1}, "samples = 1; want 2 or more"),
        ({"test_per_class": 0}, "test_per_class = 0"),
        ({"deadline_s": 0.0}, "deadline_s = 0.0"),
        ({"deadline_s": float("inf")}, "deadline_s = inf"),
        ({"deadline_s": float("nan")}, "deadline_s = nan"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"training": Hyperparameters(epochs=0)}, "epochs = 0"),
        ({"training": Hyperparameters(batch_size=0)}, "batch_size = 0"),
        ({"training": Hyperparameters(learning_rate=-1.0)}, "learning_rate = -1.0"),
        ({"training": Hyperparameters(momentum=1.0)}, "momentum = 1.0"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Experiment(**values)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_split_is_dirichlet_unless_it_is_even() -> None:
    assert Experiment(alpha=2.0).resolve_split() == DirichletSplit(2.0)
    assert Experiment(iid=True).resolve_split() == IidSplit()


def test_options_that_were_not_given_leave_the_defaults() -> None:
    options = {"method": None, "personal": (), "devices": None, "epochs": None}
    assert load_experiment(None, options) == Experiment()


def test_options_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'devices = 5\nmodel = "mlp"\npersonal = ["head"]\nencoding = "float32"\n'
        "[training]\nepochs = 3\nmomentum = 0.5\n"
    )
    experiment = load_experiment(file, {"devices": 7, "epochs": 2})
    assert (experiment.devices, experiment.model, experiment.personal) == (7, "mlp", ("head",))
    assert experiment.training == Hyperparameters(epochs=2, momentum=0.5)
    assert experiment.encoding is Encoding.FLOAT32


def test_alpha_on_the_command_line_wins_over_an_even_split_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("iid = true\n")
    assert load_experiment(file, {}).resolve_split() == IidSplit()
    assert load_experiment(file, {"alpha": 3.0}).resolve_split() == DirichletSplit(3.0)


def test_alpha_and_an_even_split_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="alpha and iid exclude each other"):
        load_experiment(None, {"alpha": 1.0, "iid": True})
    with pytest.raises(ConfigurationError, match="split and alpha exclude each other"):
        load_experiment(None, {"alpha": 1.0, "split": "iid"})


def test_a_split_is_any_of_them_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('split = "quantity:alpha=0.5"\n')
    assert load_experiment(file, {}).resolve_split() == QuantitySplit(0.5)
    assert load_experiment(file, {"iid": True}).resolve_split() == IidSplit()
    assert load_experiment(file, {"alpha": 3.0}).resolve_split() == DirichletSplit(3.0)
    file.write_text("iid = true\n")
    found = load_experiment(file, {"split": "quantity:alpha=2"})
    assert found.resolve_split() == QuantitySplit(2.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("devces = 3", "unknown field `devces`"),
        ("[training]\nlr = 0.1", "unknown field `lr`"),
        ('devices = "many"', "Expected `int`"),
        ("devices = ", "not TOML"),
        ("alpha = -3.0", "alpha = -3.0"),
        ('method = "fedsgd"', "unknown method"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as refusal:
        load_experiment(file, {})
    assert str(refusal.value).startswith(f"{file}: ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_experiment(tmp_path / "nowhere.toml", {})


def test_every_training_option_is_a_field_of_its_own() -> None:
    """Options are flat: a name in both structs would be ambiguous."""
    assert not set(Experiment.__struct_fields__) & set(Hyperparameters.__struct_fields__)
    assert {field.name for field in msgspec.structs.fields(Experiment)} >= {"training"}
