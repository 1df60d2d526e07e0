"""What is said about the files of an account before anything connects."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pfedfrz_protocol import ConfigurationError
from pfedfrz_transport import TlsSettings, open_access

URL = "mqtts://board@broker.lan"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("top-secret\n")
    path.chmod(0o600)
    return path


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return certificate, key


def refusal(broker: str, tls: TlsSettings | None = None, password_file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_access(broker, tls, password_file)
    message = str(caught.value)
    assert "\n" not in message
    assert "top-secret" not in message
    return message


def test_the_password_is_the_file_s_line_and_shows_nowhere(secret: Path) -> None:
    access = open_access(URL, password_file=secret)
    assert access.address.password == "top-secret"
    assert "top-secret" not in repr(access) + str(access.address)


def test_without_anything_said_the_url_is_all_there_is() -> None:
    access = open_access("mqtt://board:other@localhost:1")
    assert (access.address.username, access.address.password) == ("board", "other")
    assert (access.options.ca_file, access.options.certificate_file) == (None, None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_password_that_others_may_read_is_refused_with_the_chmod(secret: Path, mode: int) -> None:
    secret.chmod(mode)
    assert f"`chmod 600 {secret}`" in refusal(URL, password_file=secret)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff", b"x" * 5000])
def test_a_password_file_is_one_line(secret: Path, content: bytes) -> None:
    secret.write_bytes(content)
    assert "one line" in refusal(URL, password_file=secret)


def test_a_password_file_that_is_not_there_is_named(secret: Path) -> None:
    secret.unlink()
    message = refusal(URL, password_file=secret)
    assert message == f"password_file {secret}: cannot be read: No such file or directory"


def test_a_password_has_one_place_and_a_user(secret: Path) -> None:
    assert "keep one" in refusal("mqtts://a:b@broker.lan", password_file=secret)
    assert "mqtts://USER@HOST" in refusal("mqtts://broker.lan", password_file=secret)


def test_tls_files_are_checked_before_anything_connects(tmp_path: Path) -> None:
    certificate, key = make_pair(tmp_path, "a")
    _, other = make_pair(tmp_path, "b")
    open_access(URL, TlsSettings(certificate, certificate, key))
    assert "write mqtts://" in refusal("mqtt://broker.lan", TlsSettings(certificate))
    assert "cannot be read" in refusal(URL, TlsSettings(tmp_path / "nowhere.pem"))
    assert "no certificate in PEM form" in refusal(URL, TlsSettings(key))
    assert "belong together" in refusal(URL, TlsSettings(None, certificate))
    assert "do not go together" in refusal(URL, TlsSettings(None, certificate, other))
    key.chmod(0o644)
    assert f"`chmod 600 {key}`" in refusal(URL, TlsSettings(None, certificate, key))


def test_relative_paths_start_at_the_folder(tmp_path: Path) -> None:
    found = TlsSettings(Path("ca.pem"), None, Path("/etc/tls.key")).below(tmp_path)
    assert found == TlsSettings(tmp_path / "ca.pem", None, Path("/etc/tls.key"))
