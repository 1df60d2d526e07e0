"""The command in a report: typed in again, it is the same experiment."""

from __future__ import annotations

import shlex

import click
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedfrz.commands.emulate import command
from pfedfrz_emulator.command_line import command_line
from pfedfrz_emulator.experiment import Experiment, load_experiment
from pfedfrz_protocol import Encoding, Hyperparameters


def typed_in(line: str) -> tuple[Experiment, str]:
    """The experiment and the broker that the command line stands for."""
    program, sub_command, *words = shlex.split(line)
    assert (program, sub_command) == ("pfedfrz", "emulate")
    options = command.make_context("emulate", words).params
    broker = options.pop("broker")
    for name in ("config", "out", "as_json"):
        options.pop(name)
    if options["encoding"] is not None:
        options["encoding"] = Encoding(options["encoding"])
    return load_experiment(None, options), broker


positive = st.floats(1e-3, 10.0)
training = st.builds(
    Hyperparameters,
    epochs=st.integers(1, 9),
    learning_rate=positive,
    momentum=st.floats(0, 0.99),
    clip_norm=st.none() | positive,
)
even_or_not = st.one_of(
    st.fixed_dictionaries({"alpha": positive}),
    st.just({"iid": True}),
    st.fixed_dictionaries({"split": st.sampled_from(["rotation", "quantity:alpha=0.5"])}),
    st.just({}),
)


@settings(deadline=None, max_examples=60)
@given(
    split=even_or_not,
    model=st.sampled_from(["mlp", "cnn-small"]),
    dataset=st.sampled_from(["digits", "npz:/a b/it's.npz"]),
    personal=st.lists(st.sampled_from(["head", "fc1.*"]), unique=True).map(tuple),
    devices=st.integers(2, 30),
    attackers=st.integers(0, 1),
    attack=st.sampled_from(["sign-flip", "ipm:scale=2,start_round=3"]),
    faults=st.sampled_from(["calm", "harsh:kills=1,loss=0.25"]),
    seed=st.integers(0, 2**63 - 1),
    encoding=st.sampled_from(Encoding),
    training=training,
)
def test_it_makes_the_same_experiment_again(split: dict[str, object], **values: object) -> None:
    experiment = Experiment(**split, **values)  # type: ignore[arg-type]
    assert typed_in(command_line(experiment)) == (experiment, "auto")


def test_the_seed_is_always_there() -> None:
    assert command_line(Experiment()) == "pfedfrz emulate --seed 0"


def test_a_broker_is_named_without_the_account() -> None:
    line = command_line(Experiment(), "mqtt://joe:secret@broker.lan:1884")
    assert line.endswith("--broker mqtt://broker.lan:1884")
    assert "secret" not in line
    assert typed_in(command_line(Experiment(), "iotcore"))[1] == "iotcore"


def test_every_option_of_the_command_is_a_field_of_the_experiment_or_of_the_run() -> None:
    """Whatever the command offers must be in the line that repeats it."""
    options = {p.name for p in command.params if isinstance(p, click.Option)}
    fields = {*Experiment.__struct_fields__, *Hyperparameters.__struct_fields__} - {"training"}
    assert options - fields == {"config", "broker", "out", "page", "as_json"}
    assert fields <= options
