"""A device is taken out while everything runs."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from provisioned_lab import Lab

from pfedfrz_coordinator.key_lists import read_operators
from pfedfrz_protocol import ConfigurationError, Topics
from pfedfrz_provision import Accounts, Request, Role, provision, revoke
from pfedfrz_transport import BrokerAccess, BrokerUnreachable, MqttOptions, probe_broker

TOPICS = Topics("lab")
A, B = "device-00", "device-01"


@pytest.mark.parametrize("accounts", list(Accounts), ids=lambda accounts: accounts.value)
def test_a_revoked_device_is_out_after_a_reload(tmp_path: Path, accounts: Accounts) -> None:
    with Lab(tmp_path / "lab", accounts) as lab:
        shutil.copytree(lab.folder(B), tmp_path / "stolen")
        own = lab.access(B)
        stolen = BrokerAccess(own.address, moved(own.options, lab.folder(B), tmp_path / "stolen"))
        coordinator = lab.join("coordinator", TOPICS.every_device("event"))
        good, bad = lab.join(A, TOPICS.round), lab.join(B, TOPICS.round)
        good.link.publish(TOPICS.device(A, "event"), b"1")
        bad.link.publish(TOPICS.device(B, "event"), b"1")
        coordinator.until(TOPICS.device(A, "event"), b"1")
        coordinator.until(TOPICS.device(B, "event"), b"1")

        done = revoke(lab.directory, B)
        assert (done.devices, done.revoked) == ((A,), (B,))
        lab.reload()

        good.link.publish(TOPICS.device(A, "event"), b"2")
        if accounts is Accounts.PASSWORD:
            bad.until_down()
        else:
            # Mosquitto leaves the connection, and it can do nothing with it.
            bad.link.publish(TOPICS.device(B, "event"), b"2")
            good.link.publish(TOPICS.device(A, "event"), b"3")
            coordinator.until(TOPICS.device(A, "event"), b"3")
            coordinator.link.publish_retained(TOPICS.round, b"2")
            good.until(TOPICS.round, b"2")
            bad.take(0.5)
            assert bad.topics == []
        with pytest.raises(BrokerUnreachable) as caught:
            probe_broker(stolen.address, timeout_s=5.0, options=stolen.options)
        said = str(caught.value)
        assert ("not authorized" if accounts is Accounts.PASSWORD else "was revoked") in said
        coordinator.until(TOPICS.device(A, "event"), b"2")
        assert (TOPICS.device(B, "event"), b"2") not in {
            (message.topic, message.payload) for message in coordinator.heard
        }
        assert good.link.is_up
        bad.link.close(timeout_s=0.0)

        # A broker that starts anew knows it too.
        lab.stop(signal.SIGTERM)
        lab.start()
        with pytest.raises(BrokerUnreachable):
            probe_broker(stolen.address, timeout_s=5.0, options=stolen.options)


@pytest.mark.parametrize("accounts", list(Accounts), ids=lambda accounts: accounts.value)
def test_a_revoked_name_that_comes_back_is_another(tmp_path: Path, accounts: Accounts) -> None:
    with Lab(tmp_path / "lab", accounts) as lab:
        shutil.copytree(lab.folder(B), tmp_path / "stolen")
        old = lab.access(B)
        old = BrokerAccess(old.address, moved(old.options, lab.folder(B), tmp_path / "stolen"))
        revoke(lab.directory, B)
        lab.reload()
        again = provision(lab.directory, Request(names=(B,)))
        assert again.added == (B,)
        lab.reload()
        new = lab.access(B)
        probe_broker(new.address, timeout_s=5.0, options=new.options)
        with pytest.raises(BrokerUnreachable):
            probe_broker(old.address, timeout_s=5.0, options=old.options)


def moved(options: MqttOptions, before: Path, after: Path) -> MqttOptions:
    """The same files in another folder."""

    def move(path: Path | None) -> Path | None:
        return path and after / path.relative_to(before)

    return replace(
        options,
        ca_file=move(options.ca_file),
        certificate_file=move(options.certificate_file),
        key_file=move(options.key_file),
    )


def test_what_is_revoked_is_in_no_list_and_its_secrets_are_gone(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", Accounts.PASSWORD)
    (lab.folder(B) / "train.npz").write_bytes(b"mine")
    revoke(lab.directory, B)
    for name in ("broker/access.acl", "broker/passwords", "coordinator/devices.toml"):
        text = (lab.directory / name).read_text()
        assert A in text
        assert B not in text
    left = {path.name for path in lab.folder(B).iterdir()}
    assert left == {"ca.pem", "device.toml", "model.pfz", "train.npz"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("device-07", "device 'device-07' is not in this federation; its devices are device-00"),
        (B, "device 'device-01' is revoked already"),
        ("coordinator", "device 'coordinator' is not in this federation"),
    ],
)
def test_only_a_member_can_be_revoked_and_only_once(tmp_path: Path, name: str, said: str) -> None:
    lab = Lab(tmp_path / "lab", Accounts.PASSWORD)
    revoke(lab.directory, B)
    with pytest.raises(ConfigurationError, match=said):
        revoke(lab.directory, name)


@pytest.mark.parametrize("accounts", list(Accounts), ids=lambda accounts: accounts.value)
def test_a_revoked_operator_is_on_no_list_and_its_secrets_are_gone(
    tmp_path: Path, accounts: Accounts
) -> None:
    lab = Lab(tmp_path / "lab", accounts, operators=("anna", "ben"))
    member = msgspec.json.decode((lab.directory / "authority/federation.json").read_bytes())
    done = revoke(lab.directory, "anna")
    assert (done.taken_out, done.operators, done.revoked) == (Role.OPERATOR, ("ben",), ("anna",))
    assert list(read_operators(lab.directory / "coordinator/operators.toml")) == ["ben"]
    assert "anna" not in (lab.directory / "broker/access.acl").read_text()
    left = {path.name for path in lab.folder("anna").iterdir()}
    assert left == {"ca.pem", "monitor.toml"} | (
        {"tls.pem"} if accounts is Accounts.CERTIFICATE else set()
    )
    if accounts is Accounts.PASSWORD:
        assert "anna" not in (lab.directory / "broker/passwords").read_text()
    else:
        crl = x509.load_pem_x509_crl((lab.directory / "broker/revoked.pem").read_bytes())
        (serial,) = member["members"]["anna"]["serials"]
        assert [entry.serial_number for entry in crl] == [int(serial, 16)]
    for name in ("anna", "monitor", "coordinator"):
        with pytest.raises(ConfigurationError, match="its operators and monitors ben"):
            revoke(lab.directory, name)
    again = provision(lab.directory, Request(operators=("anna",)))
    assert again.operators == ("anna", "ben")


def test_there_is_nobody_to_revoke_where_no_federation_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no federation"):
        revoke(tmp_path, A)
    assert list(tmp_path.iterdir()) == []
