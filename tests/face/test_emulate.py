"""`pfedfrz emulate`: what it refuses, what it prints, and that every option arrives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from called_command import SMALL_RUN, Call

from pfedfrz.commands import emulate as emulate_command
from pfedfrz_emulator import emulation
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_protocol import Encoding, Hyperparameters


@pytest.mark.parametrize(
    ("arguments", "said_line"),
    [
        ("--method fedsgd", "error: unknown method 'fedsgd'; choose from: pfedfrz,"),
        (
            "--model resnet",
            "error: unknown model 'resnet'; the models are: cnn, cnn-small, har-1d, ",
        ),
        ("--dataset minst", "error: unknown dataset 'minst'; the datasets are: mnist,"),
        ("--personal fc9.*", "error: personal pattern 'fc9.*' matches no parameter"),
        ("--attack nap", "error: unknown attack 'nap'; the attacks are: alie, "),
        ("--runtime tvm", "error: unknown runtime 'tvm'; the runtimes are: onnxruntime"),
        ("--alpha 0", "error: alpha = 0.0; want a number above 0"),
        ("--alpha -2", "error: alpha = -2.0; want a number above 0"),
        ("--devices 3 --attackers 4", "error: 4 attackers among 3 devices"),
        ("--learning-rate 0", "error: phase: learning_rate = 0.0"),
        ("--dataset digits --broker mqtt://127.0.0.1:1", "error: broker at mqtt://127.0.0.1:1"),
        ("--dataset digits --broker nats", "error: broker 'nats' is unknown; choose auto"),
        ("--dataset npz:nowhere.npz", "error: nowhere.npz"),
        ("--config nowhere.toml", "error: nowhere.toml: cannot be read"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_code_2_and_leaves_nothing(
    arguments: str, said_line: str, pfedfrz: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = pfedfrz("emulate", *arguments.split(), "--out", "runs/new")
    assert (said.code, said.out) == (2, "")
    assert said.error.startswith(said_line)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_with_an_unknown_key_is_refused(pfedfrz: Call, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("devces = 3\n")
    said = pfedfrz("emulate", "--config", file, "--out", tmp_path / "run")
    assert said.code == 2
    assert said.error.startswith(f"error: {file}: Object contains unknown field `devces`")
    assert not (tmp_path / "run").exists()


def test_no_earlier_run_is_written_over(pfedfrz: Call, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    said = pfedfrz("emulate", *SMALL_RUN, "--out", tmp_path)
    assert said.code == 2
    assert said.error == (
        f"error: {tmp_path} is not empty; choose another --out, so that no run is written over"
    )


class _Taken(Exception):
    """What the run was asked to do, in place of a run."""


@pytest.mark.parametrize(
    ("arguments", "experiment"),
    [
        ("", Experiment()),
        ("--method fedprox --proximal 0.5", Experiment(
            method="fedprox", training=Hyperparameters(proximal=0.5))),
        ("--dataset digits --alpha 5", Experiment(dataset="digits", alpha=5.0)),
        ("--iid --samples 50 --test-per-class 7", Experiment(
            iid=True, samples=50, test_per_class=7)),
        ("--split rotation:turns=2", Experiment(split="rotation:turns=2")),
        ("--model mlp --personal head --personal fc1.*", Experiment(
            model="mlp", personal=("head", "fc1.*"))),
        ("--devices 7 --attackers 3 --attack sign-flip", Experiment(devices=7, attackers=3)),
        ("--rounds 4 --participants 2 --deadline-s 9.5", Experiment(
            rounds=4, participants=2, deadline_s=9.5)),
        ("--runtime onnxruntime --aggregation median", Experiment(aggregation="median")),
        ("--runtime torch", Experiment(runtime="torch")),
        ("--runtime torch --runtime onnxruntime", Experiment(
            runtime=("torch", "onnxruntime"))),
        ("--encoding float32 --seed 11", Experiment(encoding=Encoding.FLOAT32, seed=11)),
        ("--epochs 2 --batch-size 8 --learning-rate 0.5 --momentum 0.9 --weight-decay 0.01 "
         "--clip-norm 2", Experiment(training=Hyperparameters(2, 8, 0.5, 0.9, 0.01, 2.0))),
    ],
)  # fmt: skip
def test_every_option_reaches_the_experiment(
    arguments: str, experiment: Experiment, pfedfrz: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take(asked: Experiment, *, when_done: object, **how: object) -> None:
        taken.append((asked, how))
        raise _Taken

    monkeypatch.setattr(emulation, "emulate", take)
    with pytest.raises(_Taken):
        pfedfrz("emulate", *arguments.split(), "--out", "there", "--broker", "iotcore")
    assert taken == [(experiment, {"out": Path("there"), "broker": "iotcore", "page": None})]


@pytest.mark.parametrize(
    ("arguments", "page"), [("--web", ""), ("--web 127.0.0.1:9000", "127.0.0.1:9000")]
)
def test_a_page_is_served_where_it_is_wanted(
    arguments: str, page: str, pfedfrz: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def take(asked: Experiment, *, page: str | None, **how: object) -> None:
        taken.append(page)
        raise _Taken

    monkeypatch.setattr(emulation, "emulate", take)
    with pytest.raises(_Taken):
        pfedfrz("emulate", *arguments.split())
    assert taken == [page]


def test_the_numbers_are_printed_and_the_report_is_named_last(
    pfedfrz: Call, tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("rounds = 1\nattackers = 1\n")
    out = tmp_path / "run"
    said = pfedfrz("emulate", "--config", file, *SMALL_RUN, "--encoding", "float32", "--out", out)
    assert said.code == 0
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "received", "local", "updates", "bytes", "time", "report",
    ]  # fmt: skip
    assert "over 2 benign devices" in lines[0]
    assert lines[2] == "updates   3 accepted, none rejected"
    assert lines[-1] == f"report    {out / 'report.html'}"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["details"]["encoding"] == "float32"
    assert (summary["rounds"], summary["attackers"]) == (1, 1)
    assert all(path.exists() for path in (out / "report.html", out / "rounds.csv"))


def test_the_help_tells_the_true_defaults() -> None:
    """They are written down by hand, since None must mean that an option was not given."""
    default = Experiment()
    values = {name: getattr(default, name) for name in Experiment.__struct_fields__}
    values |= {name: getattr(default.training, name) for name in Hyperparameters.__struct_fields__}
    values |= {"encoding": default.encoding.value, "clip_norm": "none"}
    told = {p.name: p.help for p in emulate_command.command.params}  # type: ignore[attr-defined]
    for name in set(values) - {"training", "iid", "split", "personal", "proximal"}:
        value = values[name]
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert f"[default: {shown}]" in told[name], name
