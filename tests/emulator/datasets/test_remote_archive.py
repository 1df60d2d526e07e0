"""Members of a zip archive by range requests, from a real server on loopback."""

from __future__ import annotations

import io
import random
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from range_server import Served, serve

from pfedfrz_emulator.datasets.published import SourceUnavailable
from pfedfrz_emulator.datasets.remote_archive import RemoteArchive

NOISE = random.Random(0)
WANTED = NOISE.randbytes(200_000)
OTHER = NOISE.randbytes(900_000)


def archive(*, deflated: bool = True) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as written:
        written.writestr("gzip/other.gz", OTHER)
        written.writestr("gzip/wanted.gz", WANTED)
        written.writestr("gzip/small.gz", b"small" * 100)
    return buffer.getvalue()


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(archive()) as server:
        yield server


@pytest.mark.parametrize("deflated", [True, False])
def test_only_what_is_wanted_is_fetched(tmp_path: Path, deflated: bool) -> None:
    with serve(archive(deflated=deflated)) as served:
        RemoteArchive(served.url, tmp_path / "new").fetch(["wanted.gz", "small.gz"])
        assert served.sent < 400_000
    assert (tmp_path / "new" / "wanted.gz").read_bytes() == WANTED
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["small.gz", "wanted.gz"]


def test_a_connection_that_breaks_is_gone_on_with(tmp_path: Path) -> None:
    with serve(archive(deflated=False)) as served:
        served.break_after = [60_000, 70_000]
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])
    data = [(start, stop) for start, stop in served.asked if stop - start > 1000]
    begin = data[0][0]
    assert [start - begin for start, _ in data] == [0, 60_000, 130_000]
    assert {stop - begin for _, stop in data} == {len(WANTED)}
    assert (tmp_path / "wanted.gz").read_bytes() == WANTED


def test_a_later_run_goes_on_where_the_last_one_was_ended(tmp_path: Path) -> None:
    with serve(archive(deflated=False)) as served:
        served.break_after = [150_000, 0, 0]
        with pytest.raises(SourceUnavailable, match="150000 of 200000 bytes are kept"):
            RemoteArchive(served.url, tmp_path, attempts=2).fetch(["wanted.gz"])
        assert [path.name for path in tmp_path.iterdir()] == ["wanted.gz.part"]
        served.sent = 0
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])
        assert served.sent < 60_000
    assert (tmp_path / "wanted.gz").read_bytes() == WANTED
    assert [path.name for path in tmp_path.iterdir()] == ["wanted.gz"]


def test_progress_is_told_from_what_is_here_to_the_whole(served: Served, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    (tmp_path / "wanted.gz.part").write_bytes(b"")
    RemoteArchive(served.url, tmp_path, lambda *step: told.append(step)).fetch(["wanted.gz"])
    done = [step[1] for step in told]
    assert {step[0] for step in told} == {"wanted.gz"}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, told[-1][2])


def test_a_part_of_something_else_is_found_out_and_thrown_away(
    served: Served, tmp_path: Path
) -> None:
    (tmp_path / "wanted.gz.part").write_bytes(b"x" * 5000)
    with pytest.raises(SourceUnavailable, match="came damaged"):
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])
    assert list(tmp_path.iterdir()) == []
    RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])
    assert (tmp_path / "wanted.gz").read_bytes() == WANTED


def test_what_is_not_in_the_archive_is_said(served: Served, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"absent\.gz is not in it"):
        RemoteArchive(served.url, tmp_path).fetch(["absent.gz"])


def test_a_server_without_ranges_is_said(served: Served, tmp_path: Path) -> None:
    served.knows_ranges = False
    with pytest.raises(SourceUnavailable, match="does not send parts of files"):
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])


def test_a_page_in_place_of_the_archive_is_said(served: Served, tmp_path: Path) -> None:
    served.content = b"<html>Log in to this network</html>" * 50
    with pytest.raises(SourceUnavailable, match="no zip archive"):
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])


def test_a_directory_that_points_elsewhere_is_said(served: Served, tmp_path: Path) -> None:
    served.content = served.content.replace(b"PK\x03\x04", b"KP\x03\x04")
    with pytest.raises(SourceUnavailable, match="no member where the directory says"):
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/gzip.zip"
        with pytest.raises(SourceUnavailable, match="timed out"):
            RemoteArchive(url, tmp_path, timeout_s=0.2).fetch(["wanted.gz"])


def test_a_closed_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as briefly:
        port = briefly.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="refused"):
        RemoteArchive(f"http://127.0.0.1:{port}/gzip.zip", tmp_path).fetch(["wanted.gz"])


def test_a_directory_that_begins_before_the_archive_is_said(served: Served, tmp_path: Path) -> None:
    end = served.content.rindex(b"PK\x05\x06")
    content = bytearray(served.content)
    content[end + 16 : end + 20] = b"\xff\xff\xff\x7f"
    served.content = bytes(content)
    with pytest.raises(SourceUnavailable):
        RemoteArchive(served.url, tmp_path).fetch(["wanted.gz"])
