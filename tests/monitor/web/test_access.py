"""Who may see the page and who may act."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from plausible_federation import PlausibleFederation, StillWatch

from pfedfrz_monitor.settings import WebSettings
from pfedfrz_monitor.web import PageServer
from pfedfrz_monitor.web.access import Access, Listen, read_token
from pfedfrz_protocol import ConfigurationError

LOOPBACK = Listen("127.0.0.1", 8765)


def test_a_place_to_listen_on_is_a_host_and_a_port() -> None:
    assert Listen.parse("127.0.0.1:8765") == LOOPBACK
    assert Listen.parse("[::1]:80") == Listen("::1", 80)
    assert Listen.parse("[::1]:80").netloc == "[::1]:80"
    assert Listen.parse("0.0.0.0:80").netloc == "127.0.0.1:80"


@pytest.mark.parametrize(
    "text", ["", "8765", ":8765", "host:", "host:http", "::1:80", "host:70000"]
)
def test_what_is_no_place_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"give HOST:PORT, such as 127\.0\.0\.1:8765"):
        Listen.parse(text)


@pytest.mark.parametrize(
    ("listen", "hosts", "header", "known"),
    [
        ("127.0.0.1:8765", (), "127.0.0.1:8765", True),
        ("127.0.0.1:8765", (), "localhost:8765", True),
        ("127.0.0.1:8765", (), "[::1]:8765", True),
        ("127.0.0.1:8765", (), "LOCALHOST", True),
        ("127.0.0.1:8765", (), "evil.example:8765", False),
        ("127.0.0.1:8765", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1:8765", (), "192.168.1.5:8765", False),
        ("127.0.0.1:8765", (), "", False),
        ("127.0.0.1:8765", ("lab.example",), "lab.example", True),
        ("lab.local:80", (), "lab.local", True),
        ("192.168.1.5:80", (), "192.168.1.5:80", True),
        ("0.0.0.0:8765", (), "192.168.1.5:8765", True),
        ("0.0.0.0:8765", (), "[fe80::1]:8765", True),
        ("0.0.0.0:8765", (), "evil.example:8765", False),
    ],
)
def test_only_names_that_lead_here_on_purpose_are_answered(
    listen: str, hosts: tuple[str, ...], header: str, known: bool
) -> None:
    assert Access(Listen.parse(listen), hosts).is_known_host(header) is known


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://127.0.0.1:8765", True),
        ("https://127.0.0.1:8765", True),
        ("http://127.0.0.1:9999", False),
        ("http://evil.example", False),
        ("null", False),
        (None, False),
    ],
)
def test_only_the_page_itself_is_its_origin(origin: str | None, own: bool) -> None:
    assert Access(LOOPBACK).is_own_origin(origin, "127.0.0.1:8765") is own


def test_every_run_has_a_token_of_its_own_that_no_repr_shows() -> None:
    one, other = Access(LOOPBACK), Access(LOOPBACK)
    assert one.token != other.token
    assert one.token not in repr(one)
    assert one.knows(f"Bearer {one.token}")
    assert not one.knows(f"Bearer {other.token}")
    assert not one.knows(None)
    assert not one.knows("Bearer \N{SNOWMAN}")


def test_reading_is_free_on_this_machine_alone() -> None:
    assert not Access(LOOPBACK).reading_needs_token
    assert not Access(Listen("localhost", 1)).reading_needs_token
    for host in ("0.0.0.0", "::", "192.168.1.5", "lab.local"):
        assert Access(Listen(host, 1)).reading_needs_token


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("a-token-of-some-length\n")
    path.chmod(0o600)
    assert read_token(path) == "a-token-of-some-length"
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"mode 0640.*chmod 600"):
        read_token(path)


@pytest.mark.parametrize(
    "content", ["", "short", "two lines of\ntext here now", "ä" * 20, "a" * 600]
)
def test_a_token_that_no_header_carries_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="openssl rand"):
        read_token(path)


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing: No such file"):
        read_token(tmp_path / "nothing")


def test_a_port_in_use_is_said_in_one_line() -> None:
    watch = StillWatch(PlausibleFederation(1, 0).view)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ConfigurationError, match=r"already in use; give another: --web"),
            PageServer(watch, WebSettings(listen=place)),
        ):
            pass


def test_an_address_of_another_machine_is_said_in_one_line() -> None:
    watch = StillWatch(PlausibleFederation(1, 0).view)
    with (
        pytest.raises(ConfigurationError, match=r"the page cannot listen on 192\.0\.2\.1:80"),
        PageServer(watch, WebSettings(listen="192.0.2.1:80")),
    ):
        pass
