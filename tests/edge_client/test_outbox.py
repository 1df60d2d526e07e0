import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedfrz_edge.outbox import Outbox, PendingUpdate, SettledRound
from pfedfrz_protocol import LocalReport, OperationError, sha256_hex

REPORT = LocalReport(100, 0.5, None, 1.25, 4096, 0.5, 0.25)


def update(number: int, size: int = 1000) -> PendingUpdate:
    return PendingUpdate(number, f"{number:064x}", REPORT, bytes([number % 256]) * size)


def the_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_an_empty_outbox_has_nothing(tmp_path: Path) -> None:
    assert Outbox(tmp_path / "made" / "here").get() is None


def test_an_update_is_there_for_this_process_and_for_the_next(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    assert outbox.get() == update(1)
    assert Outbox(tmp_path).get() == update(1)


def test_a_newer_update_takes_the_place_of_the_older(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    outbox.put(update(2, size=10))
    assert Outbox(tmp_path).get() == update(2, size=10)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_forgotten_update_stays_forgotten(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    outbox.clear()
    assert outbox.get() is None
    assert Outbox(tmp_path).get() is None
    outbox.clear()
    outbox.put(update(3))
    assert outbox.get() == update(3)


def test_a_settled_round_is_remembered_beside_the_update(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.settled() is None
    outbox.put(update(2))
    for settled in (SettledRound(1, 7), SettledRound(2, 7)):
        outbox.settle(settled)
        assert Outbox(tmp_path).settled() == settled
    assert outbox.get() == update(2)
    outbox.clear()
    assert outbox.settled() == SettledRound(2, 7)


def test_a_settled_round_that_does_not_verify_is_none(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.settle(SettledRound(1, 7))
    path = the_file(tmp_path)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert outbox.settled() is None


def test_an_update_that_cannot_be_removed_is_said(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    path = the_file(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OperationError, match="cannot remove"):
        outbox.clear()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Outbox(tmp_path / "state").put(update(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE(the_file(tmp_path / "state").stat().st_mode) == 0o600


def test_a_damaged_update_is_none_and_never_an_older_one(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    outbox.put(update(2))
    path = the_file(tmp_path)
    whole = path.read_bytes()

    @settings(deadline=None)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def damage(position: int, bit: int) -> None:
        content = bytearray(whole)
        content[position] ^= 1 << bit
        path.write_bytes(content)
        assert outbox.get() is None

    damage()
    assert Outbox(tmp_path).get() is None


def test_an_update_cut_anywhere_is_none(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    path = the_file(tmp_path)
    content = path.read_bytes()
    for end in range(0, len(content), 13):
        path.write_bytes(content[:end])
        assert outbox.get() is None


@pytest.mark.parametrize(
    "body",
    [b"", b"\x80", msgspec.msgpack.encode({"round": "one"}), b"\x81\xa1\xff\x01", b"\x91" * 5000],
)
def test_a_whole_file_that_is_no_update_is_none(tmp_path: Path, body: bytes) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    the_file(tmp_path).write_bytes(sha256_hex(body).encode() + body)
    assert outbox.get() is None


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="cannot make"):
        Outbox(tmp_path / "file" / "state")


def test_an_update_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.put(update(1))
    path = the_file(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(OperationError, match="cannot write"):
        outbox.put(update(2))
    assert the_file(tmp_path) == path  # nothing half-written beside it


_PUTTER = """
import os, signal, sys
from pathlib import Path
from pfedfrz_edge.outbox import Outbox, PendingUpdate
from pfedfrz_protocol import LocalReport

outbox = Outbox(Path(sys.argv[1]))
report = LocalReport(100, 0.5, None, 1.25, 4096, 0.5, 0.25)
def update(number):
    return PendingUpdate(number, f"{number:064x}", report, bytes([number]) * 1000)
outbox.put(update(1))
original = getattr(os, sys.argv[2])
setattr(os, sys.argv[2], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
outbox.put(update(2))
"""


@pytest.mark.parametrize("point", ["fsync", "replace"])
def test_killed_in_the_middle_of_a_put_the_update_before_is_whole(
    tmp_path: Path, point: str
) -> None:
    child = subprocess.run([sys.executable, "-c", _PUTTER, str(tmp_path), point], check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert Outbox(tmp_path).get() == update(1)
    assert len(list(tmp_path.iterdir())) == 1
