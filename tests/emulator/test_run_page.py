"""What the page beside a run leaves on the disk."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from pfedfrz_emulator.fleet_files import FleetFiles
from pfedfrz_emulator.run_page import RunPage, make_operator_key
from pfedfrz_monitor.settings import load_monitor_settings
from pfedfrz_protocol import ConfigurationError, OperationError


def test_nobody_else_on_the_machine_reads_what_allows_to_act(tmp_path: Path) -> None:
    files = FleetFiles(tmp_path, "lab")
    files.log("page").parent.mkdir()
    make_operator_key(tmp_path)
    # No broker has such an address: the page says so in its log, where its own would be too.
    with pytest.raises(OperationError, match="the page was not served"):
        RunPage(files, "nats://127.0.0.1:1", {}).__enter__()
    secrets = ("page.token", "operator.key", "monitor.toml", "logs/page.log")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in secrets} == dict.fromkeys(
        secrets, 0o600
    )


@pytest.mark.parametrize(
    ("listen", "written", "shown"),
    [
        ("127.0.0.1:9123", "127.0.0.1:9123", "http://127.0.0.1:9123/#token="),
        ("[::1]:9123", "[::1]:9123", "http://[::1]:9123/#token="),
        ("0.0.0.0:9123", "0.0.0.0:9123", "http://127.0.0.1:9123/#token="),
    ],
)
def test_it_listens_where_it_is_told_and_shows_an_address_that_can_be_opened(
    tmp_path: Path, listen: str, written: str, shown: str
) -> None:
    page = RunPage(FleetFiles(tmp_path, "lab"), "mqtt://127.0.0.1:1", {}, listen)
    assert page.url.startswith(shown)
    settings = load_monitor_settings(tmp_path / "monitor.toml")
    assert settings.web.listen == written
    assert settings.operator == "emulator"


def test_where_the_usual_port_is_in_use_another_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # in use already
            other.bind(("127.0.0.1", 8765))
            other.listen()
        page = RunPage(FleetFiles(tmp_path, "lab"), "mqtt://127.0.0.1:1", {})
    assert ":8765/" not in page.url


def test_what_is_no_place_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'nowhere' is no place to listen on"):
        RunPage(FleetFiles(tmp_path, "lab"), "mqtt://127.0.0.1:1", {}, "nowhere")
