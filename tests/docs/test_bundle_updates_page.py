"""What docs/bundle-updates.md shows, with processes, Mosquitto, and a bundle that does not work."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from changed_bundles import with_changed_graphs
from torch import nn

from pfedfrz_coordinator.journal import Journal
from pfedfrz_edge.bundle_homes import MOST_ATTEMPTS
from pfedfrz_edge.bundle_record import BundleRecord, load_record
from pfedfrz_edge.personal_store import PersonalStore
from pfedfrz_edge.update_policy import OfferPolicy, UpdateSettings
from pfedfrz_emulator.brokers import start_broker
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_protocol import (
    Bundle,
    Hyperparameters,
    InputSpec,
    OperationError,
    find_method,
    partition_by_patterns,
)
from pfedfrz_storage import load_or_make_identity

PAGE = (Path(__file__).parents[2] / "docs" / "bundle-updates.md").read_text()
COMMANDS = [
    line for block in re.findall(r"(?s)^```\n(.*?)^```$", PAGE, re.MULTILINE)
    for line in block.splitlines()
]  # fmt: skip
PATIENCE_S = 60.0


def made(width: int, epochs: int) -> Bundle:
    """A front that is the same in every model, a head that is not."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, width), nn.Linear(width, 3))
    names = [name for name, _ in module.named_parameters()]
    return export_bundle(
        module,
        name="small",
        input_spec=InputSpec((6,), 3),
        partition=partition_by_patterns(names, ("0.*",)),
        schedule=find_method("pfedfrz").schedule(Hyperparameters(epochs=epochs, batch_size=16)),
    )


def test_the_page_has_the_defaults_of_the_code() -> None:
    (block,) = re.findall(r"(?s)```toml\n\[updates\]\n(.*?)```", PAGE)
    assert msgspec.toml.decode(block, type=UpdateSettings) == UpdateSettings()
    assert set(re.findall(r'^\| `"(\w+)"`', PAGE, re.MULTILINE)) == {p.value for p in OfferPolicy}
    assert f"dies with it {MOST_ATTEMPTS} times" in PAGE


class Lab:
    """A folder, a broker, a coordinator and a device, all of them real."""

    def __init__(self, folder: Path, broker: str, first: Bundle) -> None:
        self.folder = folder
        self.state, self.board = folder / "state", folder / "board"
        self.processes = ExitStack()
        save_bundle(first, folder / "model.pfz")
        key = load_or_make_identity(self.state / "coordinator.key").key.public
        (folder / "coordinator.toml").write_text(
            'federation = "lab"\nbundle = "model.pfz"\nstate_dir = "state"\n'
            f'broker = "{broker}"\n[rounds]\nrounds = 1000\nevaluate = false\n'
        )
        self.board.mkdir()
        save_bundle(first, self.board / "model.pfz")
        random = np.random.default_rng(0)
        x = random.normal(size=(30, 6)).astype(np.float32)
        np.savez(self.board / "train.npz", x=x, y=random.integers(0, 3, 30))
        (self.board / "device.toml").write_text(
            'federation = "lab"\ndevice = "me"\nbundle = "model.pfz"\nstate_dir = "state"\n'
            f'broker = "{broker}"\ncoordinator_key = "{key}"\nheartbeat_s = 1\n'
            '[data]\ntrain = "train.npz"\n'
        )

    def start(self, name: str, command: str, folder: Path) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", *shlex.split(command)], cwd=folder, stdout=log, stderr=log
            )
        self.processes.callback(process.wait)
        self.processes.callback(process.kill)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            logs = "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, logs
            time.sleep(0.05)

    def closed_rounds(self) -> int:
        """With the bundle that the coordinator has now; 0 before there is a journal."""
        try:
            journal = Journal(self.state / "journal.sqlite", read_only=True)
        except OperationError:
            return 0
        try:
            return journal.last_closed()
        except OperationError:
            return 0  # one that is being made
        finally:
            journal.close()

    def record(self) -> BundleRecord | None:
        return load_record(self.board / "state")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with start_broker("auto", tmp_path / "broker") as broker:
        made_lab = Lab(tmp_path, broker.url, made(5, 1))
        with made_lab.processes:
            yield made_lab


def test_devices_follow_and_a_bundle_that_does_not_work_is_refused(lab: Lab) -> None:
    copy, adopt, show = COMMANDS
    device = lab.start("device", "pfedfrz device --config device.toml", lab.board)
    coordinator = lab.start("before", "pfedfrz coordinator --config coordinator.toml", lab.folder)
    lab.until(lambda: lab.closed_rounds() >= 2)
    lab.end(coordinator)
    before = PersonalStore(lab.board / "state", made(5, 1).manifest.digest).load()

    # Another model, another schedule.
    second = made(7, 2)
    save_bundle(second, lab.folder / "new.pfz")
    subprocess.run(shlex.split(copy), cwd=lab.folder, check=True)
    coordinator = lab.start("adopting", adopt, lab.folder)
    lab.until(lambda: "shared weights carried over: 1" in lab.said("adopting"))
    assert "begin as in the bundle: 2.weight, 2.bias, 3.weight" in lab.said("adopting")
    lab.until(lambda: lab.closed_rounds() >= 2)
    lab.until(lambda: "has done its first work" in lab.said("device"))
    assert "2 personal weights carried over" in lab.said("device")
    record = lab.record()
    assert record is not None
    assert (record.active, record.on_trial) == (second.manifest.digest, False)
    after = PersonalStore(lab.board / "state", made(5, 1).manifest.digest).load()
    assert before is not None
    assert after is not None
    for name, weight in before.weights.items():
        np.testing.assert_array_equal(after.weights[name], weight)
    lab.end(coordinator)

    # One whose graphs are noise.
    broken = with_changed_graphs(second, "onnxruntime", lambda graph: graph[::-1])
    save_bundle(broken, lab.folder / "new.pfz")
    subprocess.run(shlex.split(copy), cwd=lab.folder, check=True)
    coordinator = lab.start("broken", adopt, lab.folder)
    lab.until(lambda: "me has refused the bundle" in lab.said("broken"))
    assert device.poll() is None
    lab.end(coordinator)
    (line,) = [text for text in listed(lab, show).splitlines() if text.startswith("me ")]
    assert second.manifest.digest[:12] in line
    assert f"refused the bundle {broken.manifest.digest[:12]}..." in line
    record = lab.record()
    assert record is not None
    assert record.active == second.manifest.digest

    # And the one before again: rounds go on.
    save_bundle(second, lab.folder / "new.pfz")
    subprocess.run(shlex.split(copy), cwd=lab.folder, check=True)
    coordinator = lab.start("again", adopt, lab.folder)
    lab.until(lambda: lab.closed_rounds() >= 1)
    lab.end(coordinator)
    lab.end(device)
    assert "Traceback" not in lab.said("device")


def listed(lab: Lab, command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=lab.folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
