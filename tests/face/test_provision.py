"""`pfedfrz provision`: what it prints, and its one line when something is wrong."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from called_command import Call
from provisioned_lab import Lab, write_tiny_bundle

from pfedfrz_provision import Accounts


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "model.pfz")


@pytest.fixture
def fleet(tmp_path: Path, bundle: Path, pfedfrz: Call) -> Path:
    root = tmp_path / "fleet"
    said = pfedfrz(
        *("provision", root, "--federation", "lab", "--host", "broker.lan", "--bundle", bundle),
        *("--devices", 2),
    )
    assert (said.code, said.err) == (0, "")
    return root


def secrets_of(root: Path) -> list[str]:
    """Every private key's lines and every password."""
    found = []
    for path in root.rglob("*"):
        if path.name == "password":
            found.append(path.read_text().strip())
        elif path.suffix == ".key":
            found += path.read_text().splitlines()[1:-1]
    assert len(found) > 8
    return found


def test_it_says_what_goes_where_and_what_to_run(
    tmp_path: Path, bundle: Path, pfedfrz: Call
) -> None:
    root = tmp_path / "fleet"
    said = pfedfrz(
        *("provision", root, "--federation", "lab", "--host", "broker.lan", "--bundle", bundle),
        *("--devices", 2),
    )
    lines = said.out.splitlines()
    assert lines[0] == (
        f"{root}: federation lab, 2 devices, accounts by password, broker mqtts://broker.lan:8883"
    )
    for wanted in (
        f"  mosquitto -c {root}/broker/mosquitto.conf",
        f"  pfedfrz coordinator --config {root}/coordinator/coordinator.toml",
        f"  new: {root}/devices/device-01  to its board",
    ):
        assert wanted in lines
    assert not [secret for secret in secrets_of(root) if secret in said.out]


def test_json_says_the_same_without_a_secret(fleet: Path, pfedfrz: Call) -> None:
    said = pfedfrz("provision", fleet, "--devices", 3, "--json")
    told = json.loads(said.out)
    assert told["added"] == ["device-02"]
    assert told["devices"] == ["device-00", "device-01", "device-02"]
    assert (told["federation"], told["accounts"], told["is_new"]) == ("lab", "password", False)
    assert len(told["coordinator_key"]) == 64
    assert not [secret for secret in secrets_of(fleet) if secret in said.out]


def test_revoking_says_what_is_left_to_do(fleet: Path, pfedfrz: Call) -> None:
    said = pfedfrz("provision", fleet, "--revoke", "device-01")
    assert said.code == 0
    assert said.out.startswith("device-01 is out of lab: 1 devices are left\n")
    assert "kill -HUP" in said.out
    config = fleet / "coordinator" / "coordinator.toml"
    assert f"pfedfrz devices revoke device-01 --config {config}" in said.out


def test_an_operator_comes_and_goes_and_what_is_left_to_do_is_said(
    fleet: Path, pfedfrz: Call
) -> None:
    said = pfedfrz("provision", fleet, "--operator", "anna", "--monitor", "hall")
    assert said.code == 0
    lines = said.out.splitlines()
    assert f"  new: {fleet}/operators/anna  to whom it is for" in lines
    assert f"  new: {fleet}/monitors/hall  to whom it is for" in lines
    assert "kill -HUP" in said.out
    assert "write operators =" not in said.out
    assert not [secret for secret in secrets_of(fleet) if secret in said.out]
    coordinator = fleet / "coordinator" / "coordinator.toml"
    coordinator.write_text(coordinator.read_text().replace("operators =", "# operators ="))
    said = pfedfrz("provision", fleet, "--operator", "ben")
    assert f'write operators = "operators.toml" above the tables of {coordinator}' in said.out
    said = pfedfrz("provision", fleet, "--revoke", "anna")
    assert said.out.startswith("anna is out of lab\n")
    assert "kill -HUP" in said.out
    assert f"{fleet}/coordinator/operators.toml, if it is elsewhere" in said.out
    assert "pfedfrz devices revoke" not in said.out
    assert pfedfrz("provision", fleet, "--revoke", "ben", "--operator", "ben").code == 2


def test_renewing_says_until_when(fleet: Path, pfedfrz: Call) -> None:
    said = pfedfrz("provision", fleet, "--renew-certificates", "--certificate-days", 30)
    assert said.code == 0
    assert "certificates of this call end on 2" in said.out
    assert "kill -HUP" in said.out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--devices", 2), "a new federation needs --federation, --host, --bundle"),
        (("--federation", "a/b"), "federation 'a/b' is not usable"),
        (("--host", "mqtts://x"), "host 'mqtts://x' is not usable"),
        (("--device", "monitor"), "device 'monitor'"),
        (("--revoke", "x"), "holds no federation that `pfedfrz provision` made"),
        (("--revoke", "x", "--devices", 3), "--revoke goes with no other option"),
        (("--accounts", "none"), "'none' is not one of"),
        (("--federation", "a", "--host", "b", "--bundle", "nowhere.pfz"), "nowhere.pfz: cannot be"),
    ],
)
def test_what_cannot_be_is_one_line_and_makes_nothing(
    tmp_path: Path, pfedfrz: Call, arguments: tuple[object, ...], error: str
) -> None:
    said = pfedfrz("provision", tmp_path / "fleet", *arguments)
    assert (said.code, said.out) == (2, "")
    assert error in said.error
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def signals() -> Iterator[None]:
    """The coordinator takes the process's signals; give them back."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("password", "wrong\n"), "it refused us: not authorized; check user name, password"),
        (("password", None), "cannot be read: No such file or directory"),
        (("ca.pem", "nothing"), "ca.pem: no certificate in PEM form"),
        (("coordinator.toml", "mqtt:"), "[tls] is given, but the broker mqtt://"),
        (("coordinator.toml", "broker.lan"), "broker mqtts://broker.lan:"),
    ],
)
def test_what_keeps_a_coordinator_out_is_one_line(
    tmp_path: Path, pfedfrz: Call, change: tuple[str, str | None], error: str
) -> None:
    name, content = change
    with Lab(tmp_path / "lab", Accounts.PASSWORD) as lab:
        path = lab.folder("coordinator") / name
        if content is None:
            path.unlink()
        elif name.endswith(".toml"):
            text = path.read_text()
            old = "mqtts:" if content == "mqtt:" else "localhost"
            path.write_text("connect_timeout_s = 1.0\n" + text.replace(old, content))
        else:
            path.write_text(content)
        said = pfedfrz("coordinator", "--config", lab.folder("coordinator") / "coordinator.toml")
    assert said.code == 2
    assert error in said.error


def test_a_password_that_others_may_read_keeps_the_coordinator_from_starting(
    fleet: Path, pfedfrz: Call
) -> None:
    path = fleet / "coordinator" / "password"
    path.chmod(0o644)
    said = pfedfrz("coordinator", "--config", fleet / "coordinator" / "coordinator.toml")
    assert said.code == 2
    assert f"`chmod 600 {path}`" in said.error


def test_the_doctor_takes_one_broker(fleet: Path, bundle: Path, pfedfrz: Call) -> None:
    config = fleet / "devices" / "device-00" / "device.toml"
    said = pfedfrz("doctor", bundle, "--broker", "mqtt://localhost", "--config", config)
    assert said.code == 2
    assert "--broker and --config both name a broker" in said.error
