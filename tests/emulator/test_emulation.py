"""A whole run in this process's charge: what it leaves, what it refuses, when it gives up."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pfedfrz_coordinator.journal import Journal
from pfedfrz_emulator.brokers import RunningBroker, has_iotcore
from pfedfrz_emulator.emulation import EmulationResult, emulate
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.memory_fleet import MemoryFleet
from pfedfrz_emulator.preparation import prepare_fleet
from pfedfrz_emulator.run_record import RunCircumstances, make_run_record
from pfedfrz_monitor.report import RunState, encode_page, summarize
from pfedfrz_monitor.runs import find_place, read_record
from pfedfrz_protocol import METHODS, ConfigurationError, Hyperparameters, OperationError
from pfedfrz_transport import BrokerAddress, Message, MqttLink

SUMMARY_KEYS = {
    "method", "dataset", "alpha", "model", "personal", "devices", "attackers", "attack", "rounds",
    "rounds_completed", "seed", "runtime", "broker", "accuracy", "updates", "bytes", "wall_s",
}  # fmt: skip
ROUNDS = 2


def small(**changes: Any) -> Experiment:
    values = {
        "dataset": "digits",
        "model": "mlp",
        "devices": 3,
        "rounds": ROUNDS,
        "samples": 60,
        "test_per_class": 5,
    }
    return Experiment(**{**values, **changes})


@dataclass(frozen=True)
class Run:
    result: EmulationResult
    directory: Path
    said: list[str]

    @property
    def summary(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.result.files.summary.read_text())
        return content

    @property
    def rounds(self) -> list[dict[str, str]]:
        with self.result.files.rounds.open(newline="") as file:
            return list(csv.DictReader(file))


def run(experiment: Experiment, directory: Path, broker: str = "auto") -> Run:
    out = io.StringIO()
    console = Console(file=out, width=80)
    result = emulate(experiment, out=directory, broker=broker, console=console)
    return Run(result, directory, out.getvalue().splitlines())


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four devices, one of them an attacker, with pFedFrz."""
    return run(small(devices=4, attackers=1), tmp_path_factory.mktemp("attacked"))


def test_the_summary_holds_what_was_asked_for_and_what_came_of_it(attacked: Run) -> None:
    summary = attacked.summary
    assert summary.keys() >= SUMMARY_KEYS
    asked = {"method": "pfedfrz", "dataset": "digits", "alpha": 0.1, "model": "mlp"}
    asked |= {"personal": "front", "devices": 4, "attackers": 1, "attack": "sign-flip"}
    asked |= {"rounds": ROUNDS, "rounds_completed": ROUNDS, "seed": 0, "runtime": "onnxruntime"}
    assert {name: summary[name] for name in asked} == asked
    assert summary["broker"] in ("mosquitto", "iotcore")
    for moment in ("received", "local"):
        accuracy = summary["accuracy"][moment]
        assert accuracy["devices"] == 3, "attackers do not count"
        assert 0 < accuracy["mean"] <= 1
        assert 0 <= accuracy["std"] <= 0.5
    assert summary["updates"] == {"accepted": 4 * ROUNDS, "rejected": {}}
    assert summary["bytes"]["downlink"] > summary["bytes"]["uplink"] > 0
    assert 0 < summary["wall_s"] < 300


def test_there_is_a_row_for_every_round(attacked: Run) -> None:
    rows = attacked.rounds
    assert [row["round"] for row in rows] == ["1", "2"]
    assert [(row["participants"], row["accepted"]) for row in rows] == [("4", "4")] * ROUNDS
    assert float(rows[-1]["local_mean"]) == pytest.approx(
        attacked.summary["accuracy"]["local"]["mean"], abs=1e-5
    )


def test_the_page_stands_alone(attacked: Run) -> None:
    page = attacked.result.files.page.read_text()
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    fetched = re.findall(r"""(?:\bsrc=|\bhref=|\burl\(|@import)\s*["']?([^"'>)\s]*)""", page)
    assert [target for target in fetched if not target.startswith(("data:", "#"))] == []


def test_the_same_report_can_be_made_later_from_the_journal(attacked: Run) -> None:
    again = read_record(find_place(attacked.directory / "coordinator"))
    assert summarize(again) == attacked.summary
    assert encode_page(again) == attacked.result.files.page.read_bytes()


def test_what_was_said_is_a_line_each(attacked: Run) -> None:
    said = attacked.said
    broker = attacked.summary["broker"]
    assert said[0] == f"pfedfrz with mlp on digits (dirichlet(0.1)), 4 devices over {broker}"
    assert said[1] == "attackers (sign-flip): " + ", ".join(attacked.summary["attacker_devices"])
    rounds = [line for line in said if line.startswith("round ")]
    assert [line[:9] for line in rounds] == ["round 1/2", "round 2/2"]
    assert all("4/4 updates" in line for line in rounds)
    assert said[-1].startswith("last model  received ")
    notes = [f"note: {note}" for note in attacked.summary["notes"]]
    assert [line for line in said if line.startswith("note: ")] == notes


def test_the_run_can_be_looked_into_and_has_no_half_of_a_file(attacked: Run) -> None:
    names = {path.name for path in attacked.directory.iterdir()}
    assert names >= {"report.html", "summary.json", "rounds.csv", "devices.csv", "model.pfz"}
    assert names >= {"accuracy.png", "label_mix.png", "coordinator.toml", "devices", "logs"}
    assert list(attacked.directory.rglob("*.partial-*")) == []


def test_the_command_makes_the_run_again(attacked: Run) -> None:
    assert attacked.summary["command"] == (
        "pfedfrz emulate --dataset digits --model mlp --devices 4 --attackers 1 --rounds 2 "
        "--seed 0 --samples 60 --test-per-class 5"
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_and_means_what_it_says(name: str, tmp_path: Path) -> None:
    """In memory: the processes are the same for every method, and dear."""
    fleet = prepare_fleet(small(method=name))
    members = MemoryFleet(fleet, tmp_path)
    members.run()
    journal = Journal(members.state_dir / "journal.sqlite", read_only=True)
    summary = summarize(make_run_record(fleet, journal, RunCircumstances("memory", "", "", 1.0)))
    journal.close()
    assert summary["rounds_completed"] == ROUNDS
    assert summary["updates"] == {"accepted": 3 * ROUNDS, "rejected": {}}
    received, local = (summary["accuracy"][moment] for moment in ("received", "local"))
    assert received["measured"] == "closing evaluation"
    tuned = bool(METHODS[name].evaluation)
    assert local["measured"] == ("closing evaluation" if tuned else f"round {ROUNDS}")
    # Better than a guess among ten labels; FedAvg's one model need not suit skewed devices.
    assert local["mean"] is not None
    assert local["mean"] > 0.2
    if name == "local":
        assert summary["bytes"]["uplink"] < 5000, "nothing is shared: only headers travel"
        assert received["mean"] == pytest.approx(local["mean"], abs=1e-9)
    if METHODS[name].uniform is None:
        assert summary["personal"] == ",".join(METHODS[name].personal_default)
    else:
        assert summary["personal"] in ("(all shared)", "(all personal)")


def retained(url: str) -> list[str]:
    """The topics with retained state on a broker."""
    link = MqttLink(BrokerAddress.parse(url), "auditor")
    link.subscribe("#")
    link.start()
    try:
        link.wait_until_up(10)
        found = []
        until = time.monotonic() + 0.7
        while (left := until - time.monotonic()) > 0:
            event = link.poll(left)
            if isinstance(event, Message) and event.retained and event.payload:
                found.append(event.topic)
        return found
    finally:
        link.close()


def test_nothing_is_left_on_a_broker_of_somebody_else(
    broker: RunningBroker, tmp_path: Path
) -> None:
    before = retained(broker.url)
    finished = run(small(devices=2, rounds=1), tmp_path / "run", broker.url)
    assert finished.summary["broker"] == broker.url
    assert [t for t in retained(broker.url) if t not in before] == []


def test_iotcore_carries_a_run_as_well(tmp_path: Path) -> None:
    if not has_iotcore():
        pytest.skip("iotcore is not installed")
    finished = run(small(participants=2), tmp_path / "run", "iotcore")
    assert finished.summary["broker"] == "iotcore"
    assert [row["participants"] for row in finished.rounds] == ["2", "2"]


@pytest.mark.parametrize(
    ("changes", "broker", "said"),
    [
        ({}, "mqtt://127.0.0.1:1", "broker at mqtt://127.0.0.1:1 does not answer"),
        ({}, "http://127.0.0.1", "'http://127.0.0.1' is not understood"),
        ({}, "hivemq", "'hivemq' is unknown; choose auto"),
        ({"dataset": "npz:/nowhere/at-all.npz"}, "auto", "/nowhere/at-all.npz"),
        ({"devices": 2000}, "auto", "use fewer devices"),
    ],
)
def test_what_cannot_be_run_leaves_no_directory(
    changes: dict[str, Any], broker: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as refusal:
        run(small(**changes), tmp_path / "new" / "run", broker)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_its_logs_and_no_report(tmp_path: Path) -> None:
    # Weight decay alone multiplies every weight by -1e10 in each step.
    training = Hyperparameters(learning_rate=1e5, weight_decay=1e5, epochs=5)
    wild = small(devices=2, training=training, deadline_s=1.0)
    with pytest.raises(OperationError, match="cannot be done"):
        run(wild, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"broker", "coordinator", "coordinator.toml", "data", "devices", "logs"} | {
        "model.pfz",
        "run.json",
    }
    assert (tmp_path / "run" / "logs" / "coordinator.log").stat().st_size > 0
    record = read_record(find_place(tmp_path / "run"))
    assert record.state is RunState.INTERRUPTED
    assert (record.settings.dataset, len(record.devices)) == ("digits", 2)
    assert b"0 of 2 rounds were completed" in encode_page(record)


def test_attackers_in_processes_of_their_own_meet_before_they_upload(tmp_path: Path) -> None:
    attack = "alie:scale=2,start_round=2"
    done = run(small(devices=4, attackers=2, attack=attack, split="rotation"), tmp_path)
    attackers = done.summary["attacker_devices"]
    (folder,) = (tmp_path / "collusion").iterdir()
    assert folder.name.startswith("round-000002-")
    assert sorted(path.stem for path in folder.iterdir()) == sorted(attackers)
    for name in attackers:
        assert "attack without" not in (tmp_path / "logs" / f"{name}.log").read_text()
    assert done.summary["details"]["split"] == "rotation(4)"
    assert done.summary["details"]["form of the attack"] == (
        "a little is enough, S + mean - 2 std, computed from the attackers' own honest updates, "
        "from round 2"
    )
    assert done.summary["updates"]["accepted"] == 4 * ROUNDS
