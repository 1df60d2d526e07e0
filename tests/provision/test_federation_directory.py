"""What is in a federation's directory, and what a second call leaves alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from provisioned_lab import write_tiny_bundle
from tiny_bundle import make_bundle

from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_coordinator.key_lists import read_accept_list, read_operators
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_edge.data import parse_address
from pfedfrz_monitor.settings import load_monitor_settings
from pfedfrz_protocol import ConfigurationError, OperationError, write_bundle
from pfedfrz_provision import Accounts, DeviceData, Request, provision, revoke
from pfedfrz_storage import load_signing_key
from pfedfrz_transport import open_access

NEW = Request(federation="lab", hosts=("broker.lan", "192.168.1.5"), count=2)
BOTH = pytest.mark.parametrize("accounts", list(Accounts), ids=lambda accounts: accounts.value)
SECRETS = {
    *("ca.key", "server.key", "coordinator.key", "device.key", "tls.key", "password", "passwords"),
    *("federation.json", "access.acl", "mosquitto_sub"),
}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    assert set(before) <= set(after)
    return {name for name in before if before[name] != after[name]}


@BOTH
def test_only_its_owner_reads_a_secret_or_looks_into_a_folder(
    tmp_path: Path, bundle: Path, accounts: Accounts
) -> None:
    root = tmp_path / "fleet"
    provision(root, replace(NEW, accounts=accounts), bundle)
    provision(root, Request(count=3))
    seen = set()
    for path in root.rglob("*"):
        mode = path.stat().st_mode & 0o777
        if path.is_dir():
            assert mode == 0o700, path
        elif path.name in SECRETS or b"PRIVATE" in path.read_bytes():
            assert mode == 0o600, path
            seen.add(path.name)
        else:
            assert mode & 0o133 == 0, path
    absent = {"password", "passwords"} if accounts is Accounts.CERTIFICATE else {"tls.key"}
    assert seen == SECRETS - absent


@BOTH
def test_every_file_is_one_that_its_reader_takes(
    tmp_path: Path, bundle: Path, accounts: Accounts
) -> None:
    root = tmp_path / "fleet"
    data = DeviceData(train='/data/a "b".npz', test="test.npz", runtime="torch")
    done = provision(root, replace(NEW, accounts=accounts, data=data), bundle)
    coordinator = load_coordinator_settings(root / "coordinator" / "coordinator.toml")
    assert coordinator.federation == "lab"
    assert coordinator.enrolment.permit_join_s == 0
    assert coordinator.rounds.start_devices == 2
    assert coordinator.enrolment.devices is not None
    listed = read_accept_list(coordinator.enrolment.devices)
    assert list(listed) == ["device-00", "device-01"] == list(done.devices)
    assert load_signing_key(coordinator.key_path).public == done.coordinator_key
    for name, key in listed.items():
        device = load_device_settings(root / "devices" / name / "device.toml")
        assert (device.federation, device.device, device.runtime) == ("lab", name, "torch")
        assert device.coordinator_key == done.coordinator_key
        assert load_signing_key(device.key_path).public == key
        assert device.bundle.read_bytes() == bundle.read_bytes()
        assert device.data.train == 'npz:/data/a "b".npz'
        access = open_access(device.broker, device.tls, device.password_file)
        assert str(access.address) == "mqtts://broker.lan:8883"
        assert access.options.ca_file is not None
        assert access.address.username == (name if accounts is Accounts.PASSWORD else None)
    open_access(coordinator.broker, coordinator.tls, coordinator.password_file)


@BOTH
def test_operators_and_monitors_are_made_at_once_or_later_and_the_coordinator_knows_them(
    tmp_path: Path, bundle: Path, accounts: Accounts
) -> None:
    root = tmp_path / "fleet"
    provision(root, replace(NEW, accounts=accounts, operators=("anna",)), bundle)
    before = contents(root)
    done = provision(root, Request(operators=("ben", "anna"), monitors=("hall",)))
    assert (done.operators, done.monitors) == (("anna", "ben"), ("hall", "monitor"))
    assert done.new_watchers == ("operators/ben", "monitors/hall")
    assert done.added == ()
    assert done.knows_operators
    lists = {"authority/federation.json", "broker/access.acl", "coordinator/operators.toml"}
    lists.add("broker/passwords" if accounts is Accounts.PASSWORD else "broker/revoked.pem")
    assert changed(before, contents(root)) == lists
    coordinator = load_coordinator_settings(root / "coordinator" / "coordinator.toml")
    assert coordinator.operators is not None
    listed = read_operators(coordinator.operators)
    assert list(listed) == ["anna", "ben"]
    for folder, name, operator in (
        ("operators/anna", "anna", "anna"),
        ("operators/ben", "ben", "ben"),
        ("monitors/hall", "hall", None),
        ("monitor", "monitor", None),
    ):
        settings = load_monitor_settings(root / folder / "monitor.toml")
        assert (settings.federation, settings.operator) == ("lab", operator)
        assert settings.coordinator_key == done.coordinator_key
        access = open_access(settings.broker, settings.tls, settings.password_file)
        assert access.address.username == (name if accounts is Accounts.PASSWORD else None)
        assert access.options.ca_file is not None
        files = {path.name for path in (root / folder).iterdir()}
        assert ("operator.key" in files) is (operator is not None)
        assert "model.pfz" not in files
        if operator is not None and settings.operator_key_file is not None:
            assert load_signing_key(settings.operator_key_file).public == listed[operator]


def test_a_federation_older_than_its_operators_is_told_what_to_write(
    tmp_path: Path, bundle: Path
) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    path = root / "coordinator" / "coordinator.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("operators")))
    (root / "monitor" / "monitor.toml").unlink()
    (root / "coordinator" / "operators.toml").unlink()
    assert provision(root, Request(count=3)).knows_operators  # there are none
    assert load_monitor_settings(root / "monitor" / "monitor.toml").federation == "lab"
    assert not provision(root, Request(operators=("anna",))).knows_operators
    path.write_text('operators = "operators.toml"\n' + path.read_text())
    assert provision(root, Request()).knows_operators
    assert list(read_operators(root / "coordinator" / "operators.toml")) == ["anna"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"operators": ("monitor",)}, "operator 'monitor': this account is somebody else's"),
        ({"monitors": ("a/b",)}, "monitor 'a/b' is not usable"),
        ({"operators": ("anna",), "monitors": ("anna",)}, "'anna' is asked for as two members"),
        ({"operators": ("device-01",), "count": 2}, "'device-01' is asked for as two members"),
        ({"operators": ("device-01",)}, "'device-01' is its device already"),
        ({"names": ("ben",)}, "'ben' is its operator already: choose another name"),
    ],
)
def test_an_account_has_one_role(
    tmp_path: Path, bundle: Path, asked: dict[str, Any], said: str
) -> None:
    root = tmp_path / "fleet"
    provision(root, replace(NEW, operators=("ben",)), bundle)
    before = contents(root)
    with pytest.raises(ConfigurationError, match=said):
        provision(root, Request(**asked))
    assert set(contents(root)) - set(before) <= {"authority/in-use.lock"}
    assert changed(before, contents(root)) == set()


def test_without_test_samples_the_file_says_where_they_would_be(
    tmp_path: Path, bundle: Path
) -> None:
    provision(tmp_path / "fleet", NEW, bundle)
    device = load_device_settings(tmp_path / "fleet/devices/device-00/device.toml")
    assert (Path(parse_address(device.data.train).place).name, device.data.test) == (
        "train.npz",
        None,
    )


@BOTH
def test_a_second_call_makes_only_what_is_new(
    tmp_path: Path, bundle: Path, accounts: Accounts
) -> None:
    root = tmp_path / "fleet"
    provision(root, replace(NEW, accounts=accounts), bundle)
    before = contents(root)
    done = provision(root, Request(count=3, names=("kitchen", "device-00")))
    assert done.added == ("device-02", "kitchen")
    after = contents(root)
    lists = {"authority/federation.json", "broker/access.acl", "coordinator/devices.toml"}
    lists.add("broker/passwords" if accounts is Accounts.PASSWORD else "broker/revoked.pem")
    assert changed(before, after) == lists
    new = {str(Path(name).parent) for name in set(after) - set(before)}
    assert new == {"devices/device-02", "devices/kitchen", "authority"}
    old_lines = before["broker/access.acl"].split(b"user ")[1:]
    assert all(block in after["broker/access.acl"] for block in old_lines)
    if accounts is Accounts.PASSWORD:
        kept = before["broker/passwords"].splitlines()
        assert set(kept) < set(after["broker/passwords"].splitlines())


def test_a_call_that_asks_for_nothing_new_makes_nothing_new(tmp_path: Path, bundle: Path) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    provision(root, NEW, bundle)
    before = contents(root)
    done = provision(root, NEW, bundle)
    assert (done.added, done.is_new, done.renewed) == ((), False, False)
    assert changed(before, contents(root)) == set()


def test_devices_can_be_added_where_the_secrets_of_others_are_gone(
    tmp_path: Path, bundle: Path
) -> None:
    """Folders go to their boards; the registry knows what the lists need."""
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    before = contents(root)
    shutil.rmtree(root / "devices")
    provision(root, Request(count=3))
    assert before["broker/passwords"].splitlines()[1] in (root / "broker/passwords").read_bytes()
    assert {path.name for path in (root / "devices").iterdir()} == {"device-02"}


def test_a_revoked_number_does_not_come_back_by_counting(tmp_path: Path, bundle: Path) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    key = read_accept_list(root / "coordinator/devices.toml")["device-01"]
    revoke(root, "device-01")
    assert provision(root, Request(count=3)).devices == ("device-00", "device-02")
    provision(root, Request(names=("device-01",)))
    assert read_accept_list(root / "coordinator/devices.toml")["device-01"] != key


@BOTH
def test_renewed_certificates_are_for_the_same_keys(
    tmp_path: Path, bundle: Path, accounts: Accounts
) -> None:
    root = tmp_path / "fleet"
    provision(root, replace(NEW, accounts=accounts, certificate_days=10), bundle)
    before = contents(root)
    done = provision(root, Request(renew=True, certificate_days=20, hosts=("new.lan",)))
    after = contents(root)
    certificates = {name for name in before if name.endswith(("tls.pem", "server.pem"))}
    assert len(certificates) == (1 if accounts is Accounts.PASSWORD else 5)
    made_anew = changed(before, after)
    assert certificates <= made_anew
    assert not [name for name in made_anew if name.endswith((".key", "password", "ca.pem"))]
    for name in certificates:
        old = x509.load_pem_x509_certificate(before[name])
        new = x509.load_pem_x509_certificate(after[name])
        assert new.public_key() == old.public_key()
        assert new.issuer == old.issuer
        assert new.not_valid_after_utc - old.not_valid_after_utc >= timedelta(days=9)
    server = x509.load_pem_x509_certificate(after["broker/server.pem"])
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["new.lan"]
    until = datetime.now(timezone.utc) + timedelta(days=20)
    assert (done.renewed, done.certificates_until) == (True, until.date().isoformat())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Request(federation="other"), "its federation is 'lab', not 'other'"),
        (Request(accounts=Accounts.CERTIFICATE), "its accounts is 'password', not 'certificate'"),
        (Request(port=1), "its port is 8883, not 1"),
        (Request(hosts=("other.lan",)), "add --renew-certificates"),
    ],
)
def test_another_federation_s_directory_is_left_alone(
    tmp_path: Path, bundle: Path, asked: Request, said: str
) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    before = contents(root)
    with pytest.raises(ConfigurationError) as caught:
        provision(root, asked)
    assert said in str(caught.value)
    assert changed(before, contents(root)) == set()


def test_another_bundle_is_another_federation(tmp_path: Path, bundle: Path) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    other = make_bundle(seed=1)
    (tmp_path / "other.pfz").write_bytes(write_bundle(other.manifest, other.files))
    with pytest.raises(ConfigurationError, match="is not the bundle that this federation trains"):
        provision(root, Request(count=3), tmp_path / "other.pfz")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (replace(NEW, federation=None), "a new federation needs --federation"),
        (replace(NEW, hosts=()), "a new federation needs --host"),
        (replace(NEW, renew=True), "no certificates to renew"),
        (replace(NEW, broker_user="nobody-of-that-name"), "there is no user"),
    ],
)
def test_a_new_federation_needs_all_it_is_made_of(
    tmp_path: Path, bundle: Path, asked: Request, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        provision(tmp_path / "fleet", asked, bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pfz"]


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"federation": "a/b"}, "federation 'a/b' is not usable"),
        ({"hosts": ("a b",)}, "host 'a b' is not usable"),
        ({"names": ("a+",)}, "device 'a\\+' is not usable"),
        ({"names": ("monitor",)}, "somebody else's"),
        ({"count": -1}, "-1 devices"),
        ({"port": 0}, "port 0"),
        ({"certificate_days": 0}, "for 0 days"),
        ({"bind": "every where"}, "host 'every where'"),
        ({"broker_user": "a b"}, "no user's name"),
        ({"broker_directory": "relative"}, "absolute path"),
        ({"broker_directory": "/with\nnewline"}, "absolute path"),
    ],
)
def test_what_no_federation_can_have_is_refused_in_one_line(
    keywords: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        Request(**keywords)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_files_of_somebody_else_are_left_alone(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="is no federation's"):
        provision(tmp_path / "home", NEW, bundle)
    with pytest.raises(ConfigurationError, match="is no federation's"):
        provision(bundle, NEW, bundle)
    with pytest.raises(ConfigurationError, match="is not there or cannot be written to"):
        provision(tmp_path / "no" / "where", NEW, bundle)
    with pytest.raises(ConfigurationError, match="has a space in it"):
        provision(tmp_path / "a b", NEW, bundle)
    assert contents(tmp_path) == {"home/letter": b"mine", "model.pfz": bundle.read_bytes()}


def test_an_empty_directory_is_as_good_as_none(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "fleet").mkdir()
    assert provision(tmp_path / "fleet", NEW, bundle).is_new
    assert provision(tmp_path / "fleet", Request(count=3)).added == ("device-02",)


def test_a_missing_or_foreign_bundle_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.pfz").write_bytes(b"no bundle")
    for bundle in (tmp_path / "nowhere.pfz", tmp_path / "x.pfz"):
        with pytest.raises(ConfigurationError, match="pfedfrz export"):
            provision(tmp_path / "fleet", NEW, bundle)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pfz"]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_nothing_half_made(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    root = tmp_path / "fleet"
    if not is_new:
        provision(root, NEW, bundle)
        with pytest.raises(ConfigurationError):  # leaves the lock's file, which stays
            revoke(root, "nobody")
    before = contents(tmp_path)
    calls = 0

    def fail_late(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail_late)
    with pytest.raises(OperationError, match="No space left on device"):
        provision(root, replace(NEW, count=4), bundle)
    assert contents(tmp_path) == before
    assert root.exists() is not is_new
    assert not (root / "devices" / "device-03").exists()


def test_a_damaged_registry_or_key_is_named(tmp_path: Path, bundle: Path) -> None:
    root = tmp_path / "fleet"
    provision(root, NEW, bundle)
    registry, key = root / "authority/federation.json", root / "authority/ca.key"
    good = registry.read_bytes()
    registry.write_bytes(good[: len(good) // 2])
    with pytest.raises(ConfigurationError, match=r"federation\.json is damaged"):
        provision(root, Request(count=3))
    later = msgspec.json.decode(good) | {"format": 2}
    registry.write_bytes(msgspec.json.encode(later))
    with pytest.raises(ConfigurationError, match="another version"):
        provision(root, Request(count=3))
    registry.write_bytes(good)
    key.unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.key: cannot be read"):
        provision(root, Request(count=3))


def test_a_kill_at_any_moment_is_mended_by_the_same_call(tmp_path: Path, bundle: Path) -> None:
    """The process is killed after each of its renames in turn; then it is called again."""
    script = (
        "import os, pathlib, sys\n"
        "from pfedfrz_provision import Request, provision\n"
        "left = int(sys.argv[3])\n"
        "real = pathlib.Path.replace\n"
        "def replace(self, target):\n"
        "    global left\n"
        "    if left == 0:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    left -= 1\n"
        "    return real(self, target)\n"
        "pathlib.Path.replace = replace\n"
        "provision(pathlib.Path(sys.argv[1]), Request(names=('kitchen',)))\n"
    )
    provision(tmp_path / "fleet", NEW, bundle)
    codes = []
    for renames in range(20):
        root = tmp_path / f"fleet-{renames}"
        shutil.copytree(tmp_path / "fleet", root)
        done = subprocess.run(
            [sys.executable, "-c", script, str(root), str(bundle), str(renames)],
            timeout=60,
            check=False,
        )
        codes.append(done.returncode)
        if done.returncode == 0:
            break
        provision(root, Request(names=("kitchen",)))
        device = load_device_settings(root / "devices/kitchen/device.toml")
        listed = read_accept_list(root / "coordinator/devices.toml")
        assert load_signing_key(device.key_path).public == listed["kitchen"]
        open_access(device.broker, device.tls, device.password_file)
        assert b"user kitchen\n" in (root / "broker/access.acl").read_bytes()
        assert b"kitchen:$7$" in (root / "broker/passwords").read_bytes()
        assert not list(root.rglob("*.partial-*"))
    assert codes[-1] == 0
    assert set(codes[:-1]) == {-9}
    assert len(codes) > 8


def test_the_same_bundle_may_come_along_again(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "a.pfz")
    provision(tmp_path / "fleet", NEW, bundle)
    bundle.rename(tmp_path / "b.pfz")
    assert provision(tmp_path / "fleet", replace(NEW, count=3), tmp_path / "b.pfz").added
