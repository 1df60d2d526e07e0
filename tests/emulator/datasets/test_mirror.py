from __future__ import annotations

import functools
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfedfrz_emulator.datasets.mirror import Mirror
from pfedfrz_emulator.datasets.published import SourceUnavailable

if TYPE_CHECKING:
    from tests.emulator.datasets.conftest import Tiny


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server on loopback, and the folder that it serves."""
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", tmp_path
        server.shutdown()
        thread.join()


def test_files_are_downloaded_and_unpacked(tiny: Tiny, served: tuple[str, Path]) -> None:
    address, folder = served
    tiny.write(folder, packed=True)
    assert Mirror(address).fetch(tiny.dataset.files) == tiny.contents


def test_a_missing_file_is_said(tiny: Tiny, served: tuple[str, Path]) -> None:
    with pytest.raises(SourceUnavailable, match="not found"):
        Mirror(served[0]).fetch(tiny.dataset.files)


def test_a_page_instead_of_a_file_is_said(tiny: Tiny, served: tuple[str, Path]) -> None:
    address, folder = served
    for name in tiny.contents:
        (folder / f"{name}.gz").write_text("<html>Log in to this network</html>")
    with pytest.raises(SourceUnavailable, match="gzip data is damaged"):
        Mirror(address).fetch(tiny.dataset.files)


def test_a_server_that_never_answers_is_given_up(tiny: Tiny) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = Mirror(f"http://127.0.0.1:{silent.getsockname()[1]}/", connect_timeout_s=0.2)
        with pytest.raises(SourceUnavailable, match="timed out"):
            mirror.fetch(tiny.dataset.files)


def test_a_closed_port_is_said(tiny: Tiny) -> None:
    with socket.create_server(("127.0.0.1", 0)) as briefly:
        port = briefly.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="refused"):
        Mirror(f"http://127.0.0.1:{port}/").fetch(tiny.dataset.files)
