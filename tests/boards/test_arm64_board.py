"""From a blank arm64 root to trained weights: the firmware scripts, TLS, and an x86-64 fleet.

Nothing is faked but the processor: the programs are the board's, started by its own scripts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from emulated_board import EmulatedBoard
from emulated_memory import PeakMemory, peak_memory
from provisioned_lab import Lab

from pfedfrz_coordinator.checkpoints import Checkpoints
from pfedfrz_coordinator.journal import Journal
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.personal_store import PersonalStore
from pfedfrz_edge.process import read_local_data
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_export import export_bundle, save_bundle
from pfedfrz_models import build_model, method_partition
from pfedfrz_protocol import Bundle, Group, Hyperparameters, Parameters, Purpose, find_method
from pfedfrz_provision import Accounts, DeviceData, Request, provision
from pfedfrz_storage import read_bundle_file

SOURCES = Path(__file__).parents[2]
RUNTIMES = ("onnxruntime", "executorch")
OTHERS = ("device-01", "device-02")
ROUNDS = 2
PATIENCE_S = 400.0
TOLERANCE = 1e-5
MOST_INSTALLED_MIB = 250
MOST_MEMORY_MIB = 150


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cnn-small by pFedFrz, for both runtimes."""
    method, model = find_method("pfedfrz"), build_model("cnn-small", 10, 7)
    made = export_bundle(
        model.module,
        name=model.name,
        input_spec=model.input,
        partition=method_partition(method, model, ()),
        schedule=method.schedule(Hyperparameters(momentum=0.5)),
        runtimes=RUNTIMES,
    )
    path = tmp_path_factory.mktemp("bundle") / "model.pfz"
    save_bundle(made, path)
    return path


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", into, SOURCES]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = into.glob("*.whl")
    return made


def write_samples(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, 70)
    images = random.integers(0, 60, (70, 1, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 3] = 255
    np.savez(path, x=images, y=labels)


@dataclass
class Federation:
    """A provisioned federation, and the board that is one of its devices."""

    lab: Lab
    board: EmulatedBoard
    runtime: str

    @property
    def board_folder(self) -> Path:
        return self.lab.folder("board")

    @property
    def wants_sys(self) -> bool:
        return self.runtime == "executorch"

    def run(self, *command: str) -> str:
        """What a command on the board says; it must succeed."""
        return said(self.board.run(*command, sys=self.wants_sys))


@pytest.fixture(scope="module", params=RUNTIMES)
def federation(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    bundle: Path,
    wheel: Path,
) -> Iterator[Federation]:
    """Provisioned, with samples on all devices; nothing runs and nothing is installed yet."""
    directory = tmp_path_factory.mktemp(request.param)
    lab = Lab(
        directory / "fleet",
        Accounts.PASSWORD,
        hosts=("127.0.0.1",),
        devices=OTHERS,
        bundle=bundle,
    )
    data = DeviceData(train="train.npz", test="test.npz", runtime=request.param)
    provision(lab.directory, Request(names=("board",), data=data))
    for seed, name in enumerate(("board", *OTHERS)):
        write_samples(lab.folder(name) / "train.npz", seed)
        write_samples(lab.folder(name) / "test.npz", seed + 100)
    for name in OTHERS:
        toml = lab.folder(name) / "device.toml"
        toml.write_text(f'{toml.read_text()}test = "test.npz"\n')
    done = provision(lab.directory, Request(wheel=wheel))
    assert "board" in done.first_boot
    template = Path(os.environ["PFEDFRZ_ARM64_ROOT"])
    board = EmulatedBoard.make(directory / "root", template)
    yield Federation(lab, board, request.param)
    shutil.rmtree(board.root)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_a_card_installs_itself_at_its_first_start(federation: Federation) -> None:
    board, began = federation.board, time.monotonic()
    (board.root / "boot" / "firmware").mkdir(parents=True)
    card = board.root / "boot" / "firmware"
    (card / "cmdline.txt").write_text("root=PARTUUID=1-02 rootwait\n")
    prepared = subprocess.run(
        ["bash", SOURCES / "firmware_scripts" / "prepare-card.sh", card, federation.board_folder],
        capture_output=True,
        text=True,
    )
    assert "is ready" in said(prepared)
    federation.run("bash", "/boot/firmware/firstrun.sh")
    unit = "etc/systemd/system/multi-user.target.wants/pfedfrz-first-boot.service"
    assert (board.root / unit).is_symlink()
    assert {path.name for path in card.iterdir()} == {"cmdline.txt"}, "no secret stays on the card"
    assert (card / "cmdline.txt").read_text() == "root=PARTUUID=1-02 rootwait\n"
    # systemd does not run in here: what its unit would start is started by hand.
    federation.run("bash", "/var/lib/pfedfrz-first-boot/first-boot.sh", "--install")
    assert not (board.root / "var/lib/pfedfrz-first-boot").exists()
    assert not (board.root / unit).is_symlink()
    enabled = "etc/systemd/system/multi-user.target.wants/pfedfrz-device.service"
    assert (board.root / enabled).is_symlink()
    installed = board.installed_mib()
    print(
        f"\n{federation.runtime}: installed at the first start in {time.monotonic() - began:.0f} s "
        f"(emulated), {installed} MiB on the disk"
    )
    assert installed <= MOST_INSTALLED_MIB


def test_installing_once_more_changes_nothing(federation: Federation, wheel: Path) -> None:
    board = federation.board
    place = board.root / "root" / "again"
    place.mkdir()
    shutil.copytree(SOURCES / "firmware_scripts", place / "firmware_scripts")
    shutil.copytree(federation.board_folder, place / "board")
    shutil.copy(wheel, place)
    before = _times(board.root)
    told = federation.run(
        *("bash", "/root/again/firmware_scripts/install-device.sh", "/root/again/board"),
        *("--wheel", f"/root/again/{wheel.name}"),
    )
    assert "nothing was changed" in told
    assert _times(board.root) == before


def _times(root: Path) -> dict[str, int]:
    places = [root / "opt", root / "etc", root / "var" / "lib" / "pfedfrz"]
    return {
        str(path): path.lstat().st_mtime_ns
        for place in places
        for path in place.rglob("*")
        if not path.is_dir()
    }


@dataclass(frozen=True)
class Finished:
    """What is left of a federation that has come to its end."""

    memory: PeakMemory
    train_s: list[float]
    state: Path
    coordinator: Path
    bundle: Bundle


@pytest.fixture(scope="module")
def finished(federation: Federation) -> Finished:
    """Both rounds, with the board and two x86-64 devices, over Mosquitto with TLS."""
    lab, board = federation.lab, federation.board
    toml = lab.folder("coordinator") / "coordinator.toml"
    text = toml.read_text().replace("rounds = 20", f"rounds = {ROUNDS}")
    toml.write_text(text.replace("start_devices = 2", "start_devices = 3"))
    pfedfrz = [sys.executable, "-m", "pfedfrz"]
    memory = PeakMemory(0, 0)
    with ExitStack() as stack:
        stack.enter_context(lab)
        log = stack.enter_context((lab.directory / "members.log").open("w"))

        def start(
            argv: list[str], environment: dict[str, str] | None = None
        ) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            return process

        for name in OTHERS:
            configuration = str(lab.folder(name) / "device.toml")
            start([*pfedfrz, "device", "--config", configuration])
        device = start(
            board.argv(
                *("runuser", "-u", "pfedfrz", "--", "/usr/local/bin/pfedfrz", "device"),
                *("--config", "/etc/pfedfrz/device/device.toml"),
                sys=federation.wants_sys,
            ),
            board.environment,
        )
        coordinator = start([*pfedfrz, "coordinator", "--config", str(toml)])
        deadline = time.monotonic() + PATIENCE_S
        while coordinator.poll() is None:
            assert device.poll() is None, (lab.directory / "members.log").read_text()
            assert time.monotonic() < deadline, (lab.directory / "members.log").read_text()
            memory = _peak(device.pid) or memory
            time.sleep(0.5)
        assert coordinator.returncode == 0, (lab.directory / "members.log").read_text()
    state = lab.folder("coordinator") / "state"
    journal = Journal(state / "journal.sqlite")
    try:
        rows = [row for n in range(1, ROUNDS + 1) for row in journal.members(n)]
    finally:
        journal.close()
    train_s = [row.report.train_s for row in rows if row.device == "board" and row.report]
    return Finished(
        memory,
        train_s,
        board.root / "var" / "lib" / "pfedfrz" / "device",
        state,
        read_bundle_file(lab.bundle),
    )


def _peak(process: int) -> PeakMemory | None:
    """Of the process of the board's that this one has become, or of its youngest descendant."""
    try:
        while children := Path(f"/proc/{process}/task/{process}/children").read_text().split():
            process = int(children[-1])
        return peak_memory(process)
    except (OSError, ValueError, IndexError):
        return None


def test_the_board_takes_part_in_every_round(federation: Federation, finished: Finished) -> None:
    assert len(finished.train_s) == ROUNDS
    print(
        f"\n{federation.runtime}: device process {finished.memory}; "
        f"{', '.join(f'{s:.1f}' for s in finished.train_s)} s of training a round (emulated)"
    )
    assert 0 < finished.memory.own <= MOST_MEMORY_MIB


def test_its_weights_are_those_of_an_x86_64_device(
    federation: Federation, finished: Finished
) -> None:
    bundle = finished.bundle
    settings = load_device_settings(federation.board_folder / "device.toml")
    training = LocalTraining(
        load_runtime("onnxruntime", bundle),
        bundle.manifest,
        read_local_data(settings, bundle).latest(),
        settings.device,
        settings.seed,
    )
    checkpoints = Checkpoints(finished.coordinator / "models", ROUNDS + 1)
    personal: Parameters = bundle.initial_weights(Group.PERSONAL)
    for number in range(1, ROUNDS + 1):
        shared = checkpoints.load(number - 1)
        personal = training.run(number, Purpose.TRAIN, shared, personal).personal
    stored = PersonalStore(finished.state, bundle.manifest.digest).load()
    assert stored is not None
    assert stored.round == ROUNDS
    initial = bundle.initial_weights(Group.PERSONAL)
    assert max(float(np.abs(personal[n] - initial[n]).max()) for n in personal) > 100 * TOLERANCE
    difference = max(float(np.abs(stored.weights[n] - personal[n]).max()) for n in personal)
    print(f"\n{federation.runtime}: personal weights after {ROUNDS} rounds within {difference:.1e}")
    assert difference < TOLERANCE


def test_the_board_tells_how_it_is_and_puts_its_model_to_use(
    federation: Federation, finished: Finished
) -> None:
    as_device = ("runuser", "-u", "pfedfrz", "--", "pfedfrz", "device")
    configuration = ("--config", "/etc/pfedfrz/device/device.toml")
    status = federation.run(*as_device, "status", *configuration)
    print(f"\n{status}")
    assert "board" in status
    assert "cnn-small" in status
    samples = "/var/lib/pfedfrz/data/test.npz"
    answers = federation.run(*as_device, "predict", *configuration, "--json", samples)
    assert f"the model that this device trained in round {ROUNDS}" in answers
    assert len(json.loads(answers.splitlines()[0])["predictions"]) == 70


def test_it_is_uninstalled_and_its_personal_weights_stay(
    federation: Federation, finished: Finished
) -> None:
    script = "/root/again/firmware_scripts/uninstall-device.sh"
    told = federation.run("bash", script)
    assert "is kept" in told
    assert not (federation.board.root / "opt/pfedfrz").exists()
    assert list(finished.state.glob("personal-*.safetensors"))
