"""Who does not get in at the broker, and the one line that is said about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from provisioned_lab import PATIENCE_S, Lab

from pfedfrz_provision import Accounts, Authority, TlsKey
from pfedfrz_transport import (
    BrokerAccess,
    BrokerAddress,
    BrokerUnreachable,
    MqttOptions,
    probe_broker,
)

ENCODING = Encoding.PEM
NOW = datetime.now(timezone.utc)
A = "device-00"


@pytest.fixture(scope="module")
def by_password(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("fleet") / "lab", Accounts.PASSWORD) as lab:
        yield lab


@pytest.fixture(scope="module")
def by_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("fleet") / "lab", Accounts.CERTIFICATE) as lab:
        yield lab


@pytest.fixture(params=["by_password", "by_certificate"])
def lab(request: pytest.FixtureRequest) -> Lab:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Lab)
    return found


def connect(access: BrokerAccess, timeout_s: float = PATIENCE_S) -> None:
    probe_broker(access.address, timeout_s=timeout_s, options=access.options)


def refusal(access: BrokerAccess, timeout_s: float = PATIENCE_S) -> str:
    """What a person is told, which is one line without a secret."""
    with pytest.raises(BrokerUnreachable) as caught:
        connect(access, timeout_s)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"broker {access.address} does not answer: ")
    if access.address.password:
        assert access.address.password not in said
    return said.partition("does not answer: ")[2]


def at(access: BrokerAccess, **changes: object) -> BrokerAccess:
    return replace(access, address=replace(access.address, **changes))  # type: ignore[arg-type]


def showing(access: BrokerAccess, certificate: Path | None, key: Path | None) -> BrokerAccess:
    options = replace(access.options, certificate_file=certificate, key_file=key)
    return replace(access, options=options)


def trusting(access: BrokerAccess, authority: Path | None) -> BrokerAccess:
    return replace(access, options=replace(access.options, ca_file=authority))


def authority_of(lab: Lab) -> Authority:
    folder = lab.directory / "authority"
    return Authority.load((folder / "ca.key").read_bytes(), (folder / "ca.pem").read_bytes())


def written(folder: Path, authority: Authority, name: str, now: datetime) -> tuple[Path, Path]:
    """A certificate for one day from `now`, and its key."""
    key = TlsKey.generate()
    pem = authority.issue_client(key.public, name, now, 1).public_bytes(ENCODING)
    (folder / "c.pem").write_bytes(pem)
    (folder / "c.key").write_bytes(key.pem)
    return folder / "c.pem", folder / "c.key"


@pytest.mark.parametrize("name", ["coordinator", "monitor", "device-00", "device-01"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_every_member_gets_in_by_every_name_of_the_broker(lab: Lab, name: str, host: str) -> None:
    connect(at(lab.access(name), host=host))


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password(by_password: Lab, password: str | None) -> None:
    said = refusal(at(by_password.access(A), password=password))
    assert said == (
        "it refused us: not authorized; check user name, password and the broker's access rules"
    )


@pytest.mark.parametrize("username", ["device-01", "stranger", None])
def test_somebody_else_s_name(by_password: Lab, username: str | None) -> None:
    access = by_password.access(A)
    password = access.address.password if username else None
    assert "not authorized" in refusal(at(access, username=username, password=password))


def test_no_certificate(by_certificate: Lab) -> None:
    said = refusal(showing(by_certificate.access(A), None, None))
    assert said == (
        "it asks for a certificate and we showed none; "
        "give certificate_file and key_file under [tls]"
    )


def test_a_certificate_of_another_authority(by_certificate: Lab, tmp_path: Path) -> None:
    stranger = Authority.make("lab", NOW)
    said = refusal(showing(by_certificate.access(A), *written(tmp_path, stranger, A, NOW)))
    assert said == (
        "it does not know the authority that issued our certificate; "
        "use a certificate of the broker's own authority"
    )


def test_an_expired_certificate_of_ours(by_certificate: Lab, tmp_path: Path) -> None:
    own = written(tmp_path, authority_of(by_certificate), A, NOW - timedelta(days=3))
    said = refusal(showing(by_certificate.access(A), *own))
    assert said == "our certificate is expired; renew it"


def test_the_broker_s_certificate_is_none_for_a_member(by_certificate: Lab) -> None:
    broker = by_certificate.directory / "broker"
    access = showing(by_certificate.access(A), broker / "server.pem", broker / "server.key")
    assert "our certificate is none for a client" in refusal(access)


def test_a_user_name_does_not_stand_above_the_certificate(by_certificate: Lab) -> None:
    """The account is the certificate's: a name beside it changes nothing."""
    access = at(by_certificate.access(A), username="coordinator", password="x")
    connect(access)


@pytest.mark.parametrize(
    ("issued_for", "host", "happened"),
    [
        ("localhost", "127.0.0.1", "IP address mismatch"),
        ("127.0.0.1", "localhost", "Hostname mismatch"),
    ],
)
def test_a_name_that_the_broker_s_certificate_is_not_for(
    tmp_path: Path, issued_for: str, host: str, happened: str
) -> None:
    with Lab(tmp_path / "lab", Accounts.PASSWORD, hosts=(issued_for,)) as lab:
        connect(lab.access(A))
        said = refusal(at(lab.access(A), host=host))
    assert happened in said
    assert said.endswith("use a host name or address that the certificate was issued for")


def test_a_broker_of_another_authority(lab: Lab, by_password: Lab, by_certificate: Lab) -> None:
    other = by_certificate if lab is by_password else by_password
    said = refusal(trusting(lab.access(A), other.directory / "authority" / "ca.pem"))
    assert said.startswith("its certificate is not trusted (")
    assert said.endswith("give the certificate of the authority that issued it as ca_file")


def test_without_an_authority_the_system_s_are_asked(lab: Lab) -> None:
    assert "its certificate is not trusted" in refusal(trusting(lab.access(A), None))


def test_plain_mqtt_to_the_tls_port(lab: Lab) -> None:
    plain = BrokerAccess(
        BrokerAddress("localhost", lab.port, username=A, password="x"), MqttOptions()
    )
    said = refusal(plain, timeout_s=1.0)
    assert "whether it wants mqtts://" in said


@pytest.mark.parametrize(
    ("shift", "remedy"),
    [
        (timedelta(days=-800), "renew the broker's certificate, or set this machine's clock"),
        (timedelta(days=40), "set this machine's clock"),
    ],
)
def test_a_broker_s_certificate_that_is_not_valid_now(
    tmp_path: Path, shift: timedelta, remedy: str
) -> None:
    lab = Lab(tmp_path / "lab", Accounts.PASSWORD)
    server = TlsKey.from_pem((lab.directory / "broker" / "server.key").read_bytes())
    issued = authority_of(lab).issue_server(server.public, ("localhost",), NOW + shift, 30)
    good = (lab.directory / "broker" / "server.pem").read_bytes()
    with lab:
        (lab.directory / "broker" / "server.pem").write_bytes(issued.public_bytes(ENCODING))
        lab.reload()
        said = refusal(lab.access(A), timeout_s=2.0)
        assert said.startswith("its certificate is not trusted (certificate ")
        assert said.endswith(f"; {remedy}")
        (lab.directory / "broker" / "server.pem").write_bytes(good)
        lab.reload()
        connect(lab.access(A))
