"""Certificates, read by OpenSSL with its strictest checks."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from pfedfrz_protocol import ConfigurationError, SigningKey
from pfedfrz_provision import Authority, TlsKey
from pfedfrz_provision.authority import certificate_pem, certified_key

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("lab", NOW)


def verify(folder: Path, authority: Authority, certificate: x509.Certificate, *options: str) -> str:
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "c.pem").write_bytes(certificate_pem(certificate))
    done = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp()))),
            *("-CAfile", "ca.pem", *options, "c.pem"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout + done.stderr).strip()


def test_a_server_s_certificate_is_for_its_hosts_and_for_a_server(
    authority: Authority, tmp_path: Path
) -> None:
    hosts = ("broker.lan", "192.168.1.5", "fe80::1")
    issued = authority.issue_server(TlsKey.generate().public, hosts, NOW, 30)
    for option in (
        ("-verify_hostname", "broker.lan"),
        ("-verify_ip", "192.168.1.5"),
        ("-verify_ip", "fe80::1"),
    ):
        assert verify(tmp_path, authority, issued, "-purpose", "sslserver", *option) == "c.pem: OK"
    other = verify(tmp_path, authority, issued, "-verify_hostname", "other.lan")
    assert "hostname mismatch" in other.lower()
    assert "purpose" in verify(tmp_path, authority, issued, "-purpose", "sslclient")


def test_a_member_s_certificate_is_for_its_name_and_for_a_client(
    authority: Authority, tmp_path: Path
) -> None:
    issued = authority.issue_client(TlsKey.generate().public, "a" * 64, NOW, 30)
    assert verify(tmp_path, authority, issued, "-purpose", "sslclient") == "c.pem: OK"
    assert "purpose" in verify(tmp_path, authority, issued, "-purpose", "sslserver")
    (name,) = issued.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "a" * 64


def test_validity_begins_a_day_early_and_ends_when_it_was_said(authority: Authority) -> None:
    issued = authority.issue_client(TlsKey.generate().public, "a", NOW, 30)
    assert issued.not_valid_before_utc == NOW - timedelta(days=1)
    assert issued.not_valid_after_utc == NOW + timedelta(days=30)


def test_a_member_cannot_vouch_for_another(authority: Authority, tmp_path: Path) -> None:
    key = TlsKey.generate()
    member = authority.issue_client(key.public, "a", NOW, 30)
    forged = Authority(key, member).issue_client(TlsKey.generate().public, "b", NOW, 30)
    (tmp_path / "member.pem").write_bytes(certificate_pem(member))
    assert "invalid CA" in verify(tmp_path, authority, forged, "-untrusted", "member.pem")


def test_a_revocation_list_names_serials_and_lasts_as_long_as_the_authority(
    authority: Authority, tmp_path: Path
) -> None:
    good, bad = (
        authority.issue_client(TlsKey.generate().public, name, NOW, 30) for name in ("a", "b")
    )
    pem = authority.revocations([(bad.serial_number, NOW)], NOW)
    (tmp_path / "crl.pem").write_bytes(pem)
    options = ("-crl_check", "-CRLfile", "crl.pem")
    assert verify(tmp_path, authority, good, *options) == "c.pem: OK"
    assert "certificate revoked" in verify(tmp_path, authority, bad, *options)
    until = x509.load_pem_x509_crl(pem).next_update_utc
    assert until is not None
    assert until - NOW > timedelta(days=19 * 365)


def test_an_authority_is_loaded_from_its_two_files_only(authority: Authority) -> None:
    again = Authority.load(authority.key.pem, authority.pem)
    assert again.pem == authority.pem
    other = Authority.make("lab", NOW)
    for key, certificate in (
        (other.key.pem, authority.pem),
        (authority.pem, authority.pem),
        (SigningKey.generate().to_pem(), authority.pem),
        (authority.key.pem, b"nothing"),
    ):
        with pytest.raises(ConfigurationError):
            Authority.load(key, certificate)


def test_the_key_of_a_certificate_is_found_in_it(authority: Authority) -> None:
    key = TlsKey.generate()
    issued = authority.issue_client(key.public, "a", NOW, 30)
    assert certified_key(certificate_pem(issued)) == key.public
    with pytest.raises(ConfigurationError):
        certified_key(b"nothing")
