"""A board whose systemd runs: device, coordinator and Mosquitto with TLS, under their own units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from board_root import BoardRoot, BootedBoard, other_wheel

pytestmark = pytest.mark.firmware
DEVICE = "/media/usb/fleet/devices/device-00"
AGENT = "pfedfrz_edge/agent.py"
# Waits as a test has them; everything else is the installed unit's.
QUICK = "[Service]\nWatchdogSec=6\nRestartSec=1\n"


@pytest.fixture
def booted(
    make_board: Callable[..., BoardRoot], installed: Path, wheel: Path, tmp_path: Path
) -> Iterator[BootedBoard]:
    board = make_board(installed, chroot=False)
    drop_in = board.path / "etc/systemd/system/pfedfrz-device.service.d/quick.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(QUICK)

    def dies(text: str) -> str:
        return text.replace(
            "    def run(self) -> None:\n",
            '    def run(self) -> None:\n        raise SystemExit("this version cannot run")\n',
            1,
        )

    def deaf(text: str) -> str:
        return text.replace("                self._manager.ready()\n", "", 1)

    for version, changed in (("0.2.0", None), ("0.3.0", dies), ("0.4.0", deaf)):
        board.bring(other_wheel(wheel, version, tmp_path, changed and {AGENT: changed}))
    with BootedBoard(board) as running:
        running.until(lambda: is_connected(running))
        yield running


def is_connected(board: BootedBoard) -> bool:
    return board.property("ActiveState") == "active" and board.property("StatusText").startswith(
        "connected"
    )


def process_of(board: BootedBoard, unit: str = "pfedfrz-device") -> str:
    return board.property("MainPID", unit)


def test_from_boot_to_stop_on_one_board(booted: BootedBoard) -> None:
    # Started at boot, it takes part over TLS; the coordinator ends when all is done, and stays so.
    booted.until(lambda: booted.property("SubState", "pfedfrz-coordinator") == "dead", 120)
    assert booted.property("Result", "pfedfrz-coordinator") == "success"
    said = booted.journal()
    assert said.count("closed: train, 1 updates") == 2
    assert is_connected(booted)
    # The sandbox does not stop the runtime from looking at the processor, and it reports nothing.
    assert "cpuinfo" not in said
    assert "telemetry" not in said

    # Installed once more, nothing is restarted.
    first = process_of(booted)
    done = booted.script("install-device.sh", DEVICE)
    assert "nothing was changed" in done.stdout
    assert process_of(booted) == first

    # A broker that is killed comes back, and the device to it, without a restart of its own.
    booted.run("systemctl", "kill", "--signal=SIGKILL", "pfedfrz-broker")
    booted.until(lambda: booted.property("NRestarts", "pfedfrz-broker") == "1")
    booted.until(
        lambda: booted.property("StatusText").startswith("no broker") or is_connected(booted)
    )
    booted.until(lambda: is_connected(booted))
    assert process_of(booted) == first

    # A loop that hangs is noticed by what it no longer says.
    booted.run("sh", "-c", f"kill -STOP {first}")
    booted.until(lambda: process_of(booted) not in (first, "0") and is_connected(booted))
    assert booted.property("NRestarts") == "1"
    assert "Watchdog timeout" in booted.journal()
    # One that dies, too.
    second = process_of(booted)
    booted.run("sh", "-c", f"kill -KILL {second}")
    booted.until(lambda: process_of(booted) not in (second, "0") and is_connected(booted))

    assert booted.run("systemctl", "stop", "pfedfrz-device").returncode == 0
    assert booted.property("Result") == "success"
    assert booted.property("ActiveState") == "inactive"
    started = booted.script("install-device.sh", DEVICE)
    assert "pfedfrz-device.service did not run and is started" in started.stdout
    booted.until(lambda: is_connected(booted))

    # Of the whole system it may write to its own folder alone.
    writable = booted.run(
        *("nsenter", "--target", process_of(booted), "--mount", "--setuid=0", "--"),
        *(
            "sh",
            "-c",
            "for d in / /etc /opt /usr /var /var/lib /var/lib/pfedfrz/data /home; do "
            "touch $d/probe 2>/dev/null && echo $d; done; true",
        ),
    )
    assert writable.stdout == "", writable

    gone = booted.script("uninstall-device.sh")
    assert gone.returncode == 0, gone.stderr
    assert booted.run("systemctl", "is-active", "pfedfrz-device").stdout == "inactive\n"
    assert booted.property("LoadState") == "not-found"


def test_an_update_stays_when_it_is_healthy_and_goes_back_by_itself_when_not(
    booted: BootedBoard,
) -> None:
    def update(version: str, watch: str) -> tuple[int, str, str]:
        place = f"/media/usb/pfedfrz-{version}-py3-none-any.whl"
        done = booted.script("update-device.sh", "--wheel", place, "--watch", watch)
        return done.returncode, done.stdout, done.stderr

    def running() -> str:
        said = booted.run("readlink", f"/proc/{process_of(booted)}/exe", "/opt/pfedfrz/current")
        return re.findall(r"versions/([0-9.]+)-", said.stdout)[-1]

    code, out, err = update("0.2.0", "8")
    assert (code, err) == (0, "")
    assert "is in place; to go back: update-device.sh --back" in out
    assert running() == "0.2.0"

    code, out, err = update("0.3.0", "20")
    assert code == 1
    assert "    this version cannot run" in err
    last = err.splitlines()[-1]
    assert re.search(r"error: 0\.3\.0-\S+ is not healthy: it ended \(exit-code\); 0\.2\.0-", last)
    assert running() == "0.2.0"
    booted.until(lambda: is_connected(booted))
    kept = booted.run("ls", "/opt/pfedfrz/versions").stdout.split()
    assert [name.split("-")[0] for name in kept] == ["0.1.0", "0.2.0"]

    code, _, err = update("0.4.0", "10")
    assert code == 1
    assert "is not healthy: it was not ready within 10 s; 0.2.0-" in err
    booted.until(lambda: is_connected(booted))

    # Without its broker no version is healthy: it goes back, and says what the device says.
    booted.run("systemctl", "stop", "pfedfrz-broker")
    done = booted.script("update-device.sh", "--back")
    assert done.returncode == 0
    assert running() == "0.1.0"
    booted.run("systemctl", "start", "pfedfrz-broker")
    booted.until(lambda: is_connected(booted), 90)
