"""`pfedfrz devices` and `pfedfrz rotate-key`, as a person calls them."""

import json
from pathlib import Path

import pytest
from called_command import Call
from identities import key_of

from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_protocol import follow_successions
from pfedfrz_storage import load_or_make_identity

COORDINATOR = """\
federation = "lab"
bundle = "model.pfz"
state_dir = "state"
"""
DEVICE = """\
federation = "lab"
device = "pi-1"
bundle = "model.pfz"
state_dir = "device"

[data]
train = "train.npz"
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "coordinator.toml"
    path.write_text(COORDINATOR)
    registry = Registry(tmp_path / "state")
    registry.enrol("pi-1", key_of("pi-1").public)
    registry.note_waiting({"pi-1": "power: not on mains"})
    registry.let_wait("pi-2", key_of("pi-2").public)
    registry.enrol("pi-3", key_of("pi-3").public)
    registry.quarantine("pi-3", "5 failures in a row, the last: not-finite: NaN")
    registry.close()
    return path


def standing(configuration: Path, device: str) -> Standing:
    registry = Registry(configuration.parent / "state")
    row = registry.find(device)
    registry.close()
    assert row is not None
    return row.standing


def test_list_shows_who_is_there_and_why_somebody_is_not(
    configuration: Path, pfedfrz: Call
) -> None:
    said = pfedfrz("devices", "list", "--config", configuration)
    assert said.code == 0
    first, one, two, three, window = said.out.splitlines()
    assert first.split()[:3] == ["device", "standing", "key"]
    assert one.split()[:2] == ["pi-1", "enrolled"]
    assert one.endswith("  waits: power: not on mains")
    assert two.split()[:2] == ["pi-2", "waiting"]
    assert three.endswith("5 failures in a row, the last: not-finite: NaN")
    assert window == "permit-join window: closed"
    said = pfedfrz("devices", "list", "--config", configuration, "--json")
    content = json.loads(said.out)
    waits = [row["waiting_for"] for row in content["devices"]]
    assert waits == ["power: not on mains", "", ""]
    assert [row["standing"] for row in content["devices"]] == [
        "enrolled",
        "waiting",
        "quarantined",
    ]


def test_devices_are_let_in_kept_out_and_let_back(configuration: Path, pfedfrz: Call) -> None:
    here = ("--config", configuration)
    assert pfedfrz("devices", "accept", "pi-2", *here).code == 0
    assert standing(configuration, "pi-2") is Standing.ENROLLED
    assert pfedfrz("devices", "revoke", "pi-1", *here).code == 0
    assert standing(configuration, "pi-1") is Standing.REVOKED
    assert pfedfrz("devices", "readmit", "pi-3", *here).code == 0
    assert standing(configuration, "pi-3") is Standing.ENROLLED
    said = pfedfrz("devices", "accept", "pi-1", *here, "--key", key_of("pi-1").public)
    assert said.code == 2
    assert said.error == "error: the key of pi-1 was revoked: make a new one on the device"
    assert pfedfrz("devices", "accept", "pi-1", *here, "--key", key_of("new").public).code == 0


def test_a_device_is_quarantined_by_command_and_only_one_that_is_let_in(
    configuration: Path, pfedfrz: Call
) -> None:
    here = ("--config", configuration)
    said = pfedfrz("devices", "quarantine", "pi-1", *here, "--reason", "odd\nnumbers")
    assert said.code == 0
    assert standing(configuration, "pi-1") is Standing.QUARANTINED
    assert "by command: odd\\nnumbers" in pfedfrz("devices", "list", *here).out
    for device, why in (("pi-2", "waiting"), ("pi-3", "quarantined")):
        said = pfedfrz("devices", "quarantine", device, *here)
        assert (said.code, said.error) == (2, f"error: {device} is {why}, not enrolled")
    assert "no device 'pi-9' is known" in pfedfrz("devices", "quarantine", "pi-9", *here).error


def test_a_federation_is_paused_and_resumed_where_its_coordinator_runs(
    configuration: Path, pfedfrz: Call
) -> None:
    def is_paused() -> bool:
        registry = Registry(configuration.parent / "state")
        found = registry.is_paused()
        registry.close()
        return found

    assert not is_paused()
    said = pfedfrz("pause", "--config", configuration)
    assert (said.code, said.out) == (
        0,
        f"paused; to go on: pfedfrz resume --config {configuration}\n",
    )
    assert is_paused()
    assert pfedfrz("resume", "--config", configuration).code == 0
    assert not is_paused()


def test_the_window_is_opened_for_a_while(configuration: Path, pfedfrz: Call) -> None:
    here = ("--config", configuration)
    assert pfedfrz("devices", "permit-join", *here, "--for", "2h").code == 0
    assert "open for another 7" in pfedfrz("devices", "list", *here).out
    assert pfedfrz("devices", "permit-join", *here, "--for", "0s").code == 0
    assert "window: closed" in pfedfrz("devices", "list", *here).out
    said = pfedfrz("devices", "permit-join", *here, "--for", "soon")
    assert (said.code, "write a number and s, m, h or d" in said.err) == (2, True)


def test_a_federation_that_was_never_started_is_said(tmp_path: Path, pfedfrz: Call) -> None:
    path = tmp_path / "coordinator.toml"
    path.write_text(COORDINATOR)
    said = pfedfrz("devices", "list", "--config", path)
    assert said.code == 2
    assert "start the coordinator once, or check its state_dir" in said.error
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("role", ["coordinator", "device"])
def test_a_key_is_rotated_and_the_old_one_vouches_for_it(
    role: str, configuration: Path, pfedfrz: Call
) -> None:
    folder = configuration.parent
    (folder / "device.toml").write_text(DEVICE)
    path = folder / ("state" if role == "coordinator" else "device") / f"{role}.key"
    before = load_or_make_identity(path).key.public
    said = pfedfrz("rotate-key", "--config", folder / f"{role}.toml")
    assert said.code == 0, said.err
    after = load_or_make_identity(path)
    assert said.out == f"the public key is now {after.key.public}\n"
    owner = "lab/coordinator" if role == "coordinator" else "lab/device/pi-1"
    assert follow_successions(before, after.key.public, after.successions, owner)
