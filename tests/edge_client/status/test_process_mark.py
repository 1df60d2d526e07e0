"""Whether a process is the one that was meant."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from pfedfrz_edge.status.process_mark import ProcessMark, mark_of_this_process

SAY = """
import msgspec
from pfedfrz_edge.status.process_mark import mark_of_this_process
print(msgspec.json.encode(mark_of_this_process()).decode(), flush=True)
input()
"""


def test_this_process_is_alive_and_none_that_has_its_number_at_another_time() -> None:
    mark = mark_of_this_process()
    assert mark.is_alive
    assert mark.started_ticks is not None
    assert not msgspec.structs.replace(mark, started_ticks=mark.started_ticks - 1).is_alive
    assert not msgspec.structs.replace(mark, boot="another").is_alive
    assert msgspec.structs.replace(mark, started_ticks=None).is_alive


def test_a_killed_process_is_not_alive_even_while_nobody_has_asked_how_it_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        mark = msgspec.json.decode(child.stdout.readline(), type=ProcessMark)
        assert mark.is_alive
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        assert not mark.is_alive
    assert not mark.is_alive
