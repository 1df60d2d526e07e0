"""`pfedfrz device` and `pfedfrz coordinator`: what stops them at once, and a federation by hand."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from called_command import PATIENCE_S, Call

from pfedfrz_coordinator.journal import Journal
from pfedfrz_edge import status
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_emulator.brokers import start_broker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet_files import FleetFiles, write_fleet_files
from pfedfrz_emulator.preparation import PreparedFleet, prepare_fleet

NOBODY = "mqtt://127.0.0.1:1"


@pytest.fixture(scope="module")
def fleet() -> PreparedFleet:
    return prepare_fleet(
        Experiment(dataset="digits", model="mlp", devices=2, rounds=3, samples=60, test_per_class=5)
    )


@pytest.fixture
def files(fleet: PreparedFleet, tmp_path: Path) -> FleetFiles:
    """The files of a federation whose broker does not answer."""
    files = write_fleet_files(fleet, tmp_path, "byhand", NOBODY)
    for path in (files.coordinator, files.device("device-00")):
        path.write_text("connect_timeout_s = 0.5\n" + path.read_text())
    return files


def configuration(files: FleetFiles, role: str) -> Path:
    return files.coordinator if role == "coordinator" else files.device("device-00")


@pytest.fixture(params=["coordinator", "device"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_broker_that_does_not_answer(role: str, files: FleetFiles, pfedfrz: Call) -> None:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        said = pfedfrz(role, "--config", configuration(files, role))
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    assert (said.code, said.out) == (2, "")
    assert said.error == (
        f"error: broker {NOBODY} does not answer: connection refused; "
        "start it, or check host and port"
    )


@pytest.mark.parametrize(
    ("old", "new", "said_part"),
    [
        ("federation", "fedaration", "Object contains unknown field `fedaration`"),
        ("model.pfz", "nowhere.pfz", "nowhere.pfz: cannot be read (No such file or directory)"),
        ("model.pfz", "data/test.npz", "data/test.npz: 'manifest.json' is missing"),
        ('"byhand"', '"not/a/name"', "federation 'not/a/name' is not usable"),
        (NOBODY, "http://127.0.0.1", "broker URL 'http://127.0.0.1' is not understood"),
    ],
)
def test_a_fault_in_the_file_is_one_line_and_code_2(
    old: str, new: str, said_part: str, role: str, files: FleetFiles, pfedfrz: Call
) -> None:
    path = configuration(files, role)
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    said = pfedfrz(role, "--config", path)
    assert (said.code, said.out) == (2, "")
    assert said_part in said.error


def test_a_damaged_bundle_is_refused(role: str, files: FleetFiles, pfedfrz: Call) -> None:
    content = bytearray(files.bundle.read_bytes())
    content[len(content) // 2] ^= 1
    files.bundle.write_bytes(content)
    said = pfedfrz(role, "--config", configuration(files, role))
    assert said.code == 2
    assert re.search(r"model\.pfz: .*copy or export|not a pfedfrz bundle", said.error)


class Members:
    """Processes of the command, each ended in the end."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(self, role: str, path: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "pfedfrz", role, "--config", str(path)]
        self.started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return self.started[-1]


@pytest.fixture
def members() -> Iterator[Members]:
    members = Members()
    yield members
    for process in members.started:
        process.kill()
        process.communicate()


def test_a_federation_started_by_hand_stops_and_goes_on(
    fleet: PreparedFleet, members: Members, tmp_path: Path
) -> None:
    with start_broker("auto", tmp_path / "broker") as broker:
        files = write_fleet_files(fleet, tmp_path, "byhand", broker.url)
        coordinator = members.start("coordinator", files.coordinator)
        assert coordinator.stderr is not None
        assert "connected to the broker" in coordinator.stderr.readline()
        coordinator.send_signal(signal.SIGTERM)
        _, err = coordinator.communicate(timeout=PATIENCE_S)
        assert coordinator.returncode == 0
        last = err.splitlines()[-1]
        assert last == "stopped before the last round; start it again to go on"

        coordinator = members.start("coordinator", files.coordinator)
        devices = [
            members.start("device", files.device(name)) for name in ("device-00", "device-01")
        ]
        for process in (coordinator, *devices):
            out, _ = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, out) == (0, "")
    journal = Journal(files.journal, read_only=True)
    accepted = [row.metrics.accepted for row in journal.rounds() if row.metrics]
    journal.close()
    assert accepted == [2, 2, 2, 0]


def test_a_device_that_never_ran_is_shown_and_predicts_as_the_bundle_does(
    files: FleetFiles, pfedfrz: Call
) -> None:
    path = configuration(files, "device")
    said = pfedfrz("device", "status", "--config", path)
    assert said.code == 0
    rows = dict(line.split(maxsplit=1) for line in said.out.splitlines())
    assert rows["process"] == "does not run, and has not run yet"
    assert rows["conditions"] == "none: trains always"
    assert not load_device_settings(path).state_dir.exists()  # it only looks
    samples = load_device_settings(path).data.train.removeprefix("npz:")
    said = pfedfrz("device", "predict", "--config", path, samples)
    assert said.code == 0
    assert said.err.startswith("no round has been trained on this device yet")
    assert len(said.out.splitlines()) == 60


def test_what_others_have_named_does_not_act_on_the_terminal(
    files: FleetFiles, pfedfrz: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = configuration(files, "device")
    seen = status.look_at_device(path)
    spoilt = msgspec.structs.replace(
        seen,
        bundle=msgspec.structs.replace(seen.bundle, model="tiny\x9b2J"),
        faults=("broke: \x1b[2J\ndevice        forged",),
    )
    monkeypatch.setattr(status, "look_at_device", lambda *_, **__: spoilt)
    said = pfedfrz("device", "status", "--config", path)
    assert said.code == 0
    assert all(line.isprintable() for line in said.out.splitlines())
    assert "tiny\\x9b2J" in said.out
    assert "fault         broke: \\x1b[2J\\ndevice        forged" in said.out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "missing option '--config' (see `pfedfrz device --help`)"),
        (["status"], "missing option '--config' (see `pfedfrz device status --help`)"),
        (["--config", "a.toml", "status"], "pfedfrz device status --config FILE"),
        (["statsu"], "no such command 'statsu'"),
        (["predict", "--config", "none.toml", "a.npz"], "none.toml: cannot be read"),
    ],
)
def test_a_wrong_call_of_device_is_one_line_and_code_2(
    arguments: list[str], says: str, pfedfrz: Call
) -> None:
    said = pfedfrz("device", *arguments)
    assert said.code == 2
    assert says in said.error


@pytest.mark.parametrize("name", ["status", "predict", "export-onnx"])
def test_every_command_of_a_device_has_an_example(name: str, pfedfrz: Call) -> None:
    said = pfedfrz("device", name, "--help")
    assert said.code == 0
    assert f"Example:  pfedfrz device {name} " in said.out
    assert f"  {name}" in pfedfrz("device", "--help").out
