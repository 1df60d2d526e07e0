"""What the README says can be done, done."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest

from pfedfrz.command import cli
from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_coordinator.journal import Journal
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_emulator.brokers import start_broker

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE_S = 90.0


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def toml_block(name: str) -> str:
    return next(block for block in fenced("toml") if block.startswith(f"# {name}"))


def commands() -> list[str]:
    output = "updates   "  # the block that shows what a run prints is no list of commands
    lines = [line for block in fenced("") if output not in block for line in block.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.startswith("pfedfrz ")]


def test_the_first_block_is_what_to_run_and_all_of_it_is_there() -> None:
    first = [line.partition("#")[0].split() for line in fenced("")[0].splitlines()]
    assert first == [["scripts/demo", "--web"], ["scripts/demo"], ["scripts/test"]]
    assert all((ROOT / name).stat().st_mode & 0o100 for name, *_ in first)


@pytest.mark.parametrize("line", commands())
def test_every_command_line_is_one_that_the_command_understands(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    # With the real settings: click remembers a command's help option from its first context.
    context = click.Context(cli, **cli.context_settings)
    command = cli.get_command(context, name)
    assert command is not None, line
    command.make_context(name, arguments, parent=context)


def test_every_file_that_is_linked_is_there() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []


def pfedfrz(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pfedfrz", *map(str, arguments)]


def write_samples(path: Path, seed: int, samples: int) -> None:
    """Images in which the label is a bright row, as uint8: easy to learn."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, samples)
    images = random.integers(0, 60, (samples, 1, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 3] = 255
    np.savez(path, x=images, y=labels)


def test_a_federation_by_hand_as_the_readme_describes_it(tmp_path: Path) -> None:
    bundle = tmp_path / "model.pfz"
    subprocess.run(
        pfedfrz("export", "mlp", "--personal", "front", "-o", bundle),
        check=True,
        timeout=PATIENCE_S,
    )
    with start_broker("auto", tmp_path / "broker") as broker:

        def configure(block: str, **changes: str) -> str:
            text = toml_block(block).replace("mqtt://127.0.0.1:1883", broker.url)
            for old, new in changes.items():
                text = re.sub(rf"(?m)^{old} = [^#\n]*", f"{old} = {new} ", text)
            return text

        coordinator = tmp_path / "coordinator.toml"
        coordinator.write_text(configure("coordinator.toml", rounds="2"))
        processes = [subprocess.Popen(pfedfrz("coordinator", "--config", coordinator))]
        for number in range(3):
            home = tmp_path / f"board-{number}"
            home.mkdir()
            (home / "model.pfz").write_bytes(bundle.read_bytes())
            write_samples(home / "train.npz", number, 600)
            write_samples(home / "test.npz", 100 + number, 40)
            config = home / "device.toml"
            config.write_text(configure("device.toml", device=f'"board-{number}"'))
            processes.append(subprocess.Popen(pfedfrz("device", "--config", config)))
        try:
            assert processes[0].wait(PATIENCE_S) == 0
            time.sleep(0.2)
            assert [p.poll() for p in processes[1:]] == [None] * 3, "devices wait for the next"
        finally:
            for process in processes:
                process.terminate()
            codes = [process.wait(20) for process in processes]
    assert codes[1:] == [0, 0, 0]
    journal = Journal(tmp_path / "coordinator-state" / "journal.sqlite", read_only=True)
    metrics = [row.metrics for row in journal.rounds()]
    journal.close()
    assert [m.accepted for m in metrics if m] == [3, 3, 0]
    local = [m.local_mean for m in metrics if m and m.local_mean is not None]
    assert local[-1] > 0.3


def test_the_configuration_blocks_are_valid_as_they_stand(tmp_path: Path) -> None:
    for name, load in (
        ("coordinator.toml", load_coordinator_settings),
        ("device.toml", load_device_settings),
    ):
        path = tmp_path / name
        path.write_text(toml_block(name))
        load(path)
