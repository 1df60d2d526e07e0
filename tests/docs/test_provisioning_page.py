"""What docs/provisioning.md shows, done in its order; and no secret where it should not be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from provisioned_lab import free_port
from secrets_search import secrets_below

from pfedfrz_coordinator.journal import Journal

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "provisioning.md").read_text()
BLOCKS = re.findall(r"^```(python)?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PATIENCE_S = 240.0

# Everything there is on the broker, which no account of a real federation may hear.
SPY = """
printf 'user monitor\\ntopic read #\\n' >> fleet/broker/access.acl
sed -i 's/^rounds = 20/rounds = 2/' fleet/coordinator/coordinator.toml
"""


def script(port: int, accounts: str) -> str:
    """The page as one script; its commands, but the port, a short run and a monitor of all."""
    steps = ["set -e -o pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for kind, block in BLOCKS:
        steps.append(f"python - <<'END'\n{block}END" if kind == "python" else block)
        if "--bundle" in block:
            steps.append(SPY)
    text = "\n".join(steps)
    for old, new in (
        ("--port 8883", f"--port {port} --accounts {accounts}"),
        ("mosquitto_sub -t 'pfedfrz/#'", "mosquitto_sub -t '#'"),
        ("\nkill -HUP", "\ncp -r fleet fleet-before-$((++copies)); kill -HUP"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


def commands_on_path(folder: Path) -> dict[str, str]:
    """An environment in which `pfedfrz` and `python` are the ones under test."""
    folder.mkdir()
    for name, arguments in (("pfedfrz", "-m pfedfrz"), ("python", "")):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        command.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    return {**os.environ, "PATH": path}


@pytest.mark.parametrize("accounts", ["password", "certificate"])
def test_every_command_runs_one_after_the_other(tmp_path: Path, accounts: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with (tmp_path / "log.txt").open("wb") as log:
        done = subprocess.run(
            ["bash", "-c", script(free_port(), accounts)],
            cwd=work,
            env=commands_on_path(tmp_path / "bin"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=PATIENCE_S,
            check=False,
        )
    said = (tmp_path / "log.txt").read_bytes()
    assert done.returncode in (0, 143), said.decode(errors="replace")[-4000:]
    assert b"this board can take part" in said
    assert b"federation lab, 4 devices" in said
    assert b"device-01 is out of lab: 3 devices are left" in said

    journal = Journal(work / "fleet/coordinator/state/journal.sqlite", read_only=True)
    accepted = [row.metrics.accepted for row in journal.rounds() if row.metrics]
    journal.close()
    assert accepted == [3, 3, 0]

    heard = (work / "seen.txt").read_bytes()
    registry = msgspec.json.decode((work / "fleet/authority/federation.json").read_bytes())
    # What is heard is all there is: rounds, tensors both ways, the key that signatures are by.
    for public in (
        b"pfedfrz/v1/lab/round ",
        b"pfedfrz-bin/v1/lab/model/1/0 ",
        b"pfedfrz-bin/v1/lab/device/device-02/update/1/0 ",
        registry["members"]["coordinator"]["public_key"].encode(),
    ):
        assert public in heard
    secrets = set[bytes]()
    for folder in work.glob("fleet*"):
        secrets |= secrets_below(folder)
    assert len(secrets) > 20
    assert not [secret for secret in secrets if secret in said]
    assert not [secret for secret in secrets if secret in heard]
    for state in (*work.glob("fleet/*/state/**/*"), *work.glob("fleet/devices/*/state/**/*")):
        if state.is_file():
            assert not [secret for secret in secrets if secret in state.read_bytes()], state


def test_the_refusals_in_the_table_are_what_is_said() -> None:
    said = (ROOT / "tests/provision/test_refused_connections.py").read_text()
    for module in ("connect_fault", "mqtt_connection"):
        said += (ROOT / f"transport/pfedfrz_transport/{module}.py").read_text()
    table = PAGE.partition("## What is refused")[2]
    told = re.findall(r"^\| .* \| `(.*?)` \|$", table, re.MULTILINE)
    assert len(told) == 9
    for line in told:
        assert all(part.strip(". ") in said for part in line.split(";")), line
