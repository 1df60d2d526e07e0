import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pfedfrz_protocol import ConfigurationError, OperationError
from pfedfrz_storage import is_locked, lock_directory

_HOLDER = """
import sys, time
from pathlib import Path
from pfedfrz_storage import lock_directory

with lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_directory_is_made_and_held_once_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "state"
    with lock_directory(directory, mode=0o700):
        assert directory.stat().st_mode & 0o777 == 0o700
        with (
            pytest.raises(ConfigurationError, match="state is in use by another process; "),
            lock_directory(directory),
        ):
            pytest.fail("held twice")
    with lock_directory(directory):
        pass


def test_another_process_is_kept_out_until_that_one_is_gone_even_killed(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(ConfigurationError), lock_directory(tmp_path):
            pytest.fail("held twice")
        child.send_signal(signal.SIGKILL)
        child.wait()
        with lock_directory(tmp_path):
            pass


def test_a_lock_ends_with_an_error_in_the_context(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_directory(tmp_path):
        _ = 1 / 0
    with lock_directory(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_or_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="cannot make"), lock_directory(tmp_path / "file/s"):
        pytest.fail("held")
    (tmp_path / "in-use.lock").mkdir()
    with pytest.raises(OperationError, match="cannot open"), lock_directory(tmp_path):
        pytest.fail("held")


def test_who_looks_sees_whether_it_is_held_and_keeps_nobody_out(tmp_path: Path) -> None:
    assert is_locked(tmp_path) is False
    with lock_directory(tmp_path):
        assert is_locked(tmp_path) is True
    assert is_locked(tmp_path) is False
    assert is_locked(tmp_path / "never-made") is False
