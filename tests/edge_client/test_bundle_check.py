"""The process that examines an archive, whatever it does."""

import os
import queue
import stat
import sys
import time
from pathlib import Path

import pytest

from pfedfrz_edge.bundle_check import BundleCheck
from pfedfrz_edge.bundle_exchange import BundleChecked, CheckBundle
from pfedfrz_protocol import BundleOffer, describe_transfer

PATIENCE_S = 20.0
ARCHIVE = b"no archive"
ASKED = CheckBundle(BundleOffer(5, "a" * 64, describe_transfer(ARCHIVE)), ARCHIVE)


class Bench:
    """A check whose process is a script of ours."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.posted: queue.Queue[object] = queue.Queue()
        self.archive = folder / "bundles" / "offered.pfz"

    def check(self, script: str, *, longest_s: float = PATIENCE_S) -> BundleCheck:
        program = self.folder / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        self._monkeypatch.setattr(sys, "executable", str(program))
        return BundleCheck(
            ASKED, self.archive, self.folder / "device.toml", self.posted.put, longest_s=longest_s
        )

    def fault(self, script: str, *, longest_s: float = PATIENCE_S) -> str | None:
        self.check(script, longest_s=longest_s).start()
        found = self.posted.get(timeout=PATIENCE_S)
        assert isinstance(found, BundleChecked)
        assert found.bundle == "a" * 64
        return found.fault


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_process_that_ends_well_found_nothing(bench: Bench) -> None:
    assert bench.fault('[ "$4" = %s ] && grep -q "no archive" "$3"' % ("a" * 64)) is None
    assert stat.S_IMODE(bench.archive.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo one >&2; echo two >&2; exit 1", "two"),
        ("exit 3", "it said nothing"),
        ("kill -9 $$", "killed by signal 9"),
        ("kill -11 $$", "killed by signal 11"),
        ('echo "$3: no room" >&2; exit 1', "the offered bundle: no room"),
        ("head -c 1000000 /dev/zero >&2; exit 1", r"\x00"),
    ],
)
def test_a_process_that_ends_badly_says_why(bench: Bench, script: str, says: str) -> None:
    fault = bench.fault(script)
    assert fault is not None
    assert says in fault
    assert "\n" not in fault


def test_a_process_that_never_ends_is_ended(bench: Bench) -> None:
    assert "did not end within 0.3 s" in (bench.fault("exec sleep 60", longest_s=0.3) or "")


def test_a_disk_that_is_full_is_the_fault(bench: Bench) -> None:
    bench.archive.mkdir(parents=True)
    assert "offered.pfz" in (bench.fault("exit 0") or "")


def test_called_off_it_says_nothing_and_leaves_no_process(bench: Bench) -> None:
    check = bench.check(f'echo $$ > "{bench.folder}/pid.part"; mv "{bench.folder}/pid.part" '
                        f'"{bench.folder}/pid"; exec sleep 60')  # fmt: skip
    check.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (bench.folder / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    check.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int((bench.folder / "pid").read_text()), 0)
    assert bench.posted.empty()


def test_the_real_examination_refuses_what_is_no_archive(tmp_path: Path) -> None:
    """Also where the network's bytes are made to hurt, only the child sees them."""
    (tmp_path / "device.toml").write_text(
        'federation = "lab"\ndevice = "me"\nbundle = "m.pfz"\nstate_dir = "state"\n'
        '[data]\ntrain = "train.npz"\n'
    )
    posted: queue.Queue[object] = queue.Queue()
    offered = tmp_path / "offered.pfz"
    BundleCheck(ASKED, offered, tmp_path / "device.toml", posted.put).start()
    found = posted.get(timeout=PATIENCE_S)
    assert isinstance(found, BundleChecked)
    assert found.fault is not None
    assert found.fault.startswith("the offered bundle: not a pfedfrz bundle")
