"""The rooms held apart: who may import whom, and what a board never needs.

ARCHITECTURE.md draws the same table; a test below reads it there.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "pfedfrz_protocol": "protocol",
    "pfedfrz_storage": "storage",
    "pfedfrz_transport": "transport",
    "pfedfrz_models": "models",
    "pfedfrz_edge": "edge_client",
    "pfedfrz_coordinator": "coordinator",
    "pfedfrz_provision": "provision",
    "pfedfrz_monitor": "monitor",
    "pfedfrz_export": "export",
    "pfedfrz_emulator": "emulator",
    "pfedfrz": ".",
}

MAY_IMPORT: dict[str, set[str]] = {
    "pfedfrz_protocol": set(),
    "pfedfrz_storage": {"pfedfrz_protocol"},
    "pfedfrz_transport": {"pfedfrz_protocol"},
    "pfedfrz_models": {"pfedfrz_protocol"},
    "pfedfrz_edge": {"pfedfrz_protocol", "pfedfrz_storage", "pfedfrz_transport"},
    "pfedfrz_coordinator": {"pfedfrz_protocol", "pfedfrz_storage", "pfedfrz_transport"},
    "pfedfrz_provision": {"pfedfrz_protocol", "pfedfrz_storage", "pfedfrz_transport"},
    "pfedfrz_monitor": {
        "pfedfrz_protocol",
        "pfedfrz_storage",
        "pfedfrz_transport",
        "pfedfrz_coordinator",
    },
    "pfedfrz_export": {
        "pfedfrz_protocol",
        "pfedfrz_storage",
        "pfedfrz_models",
        "pfedfrz_edge.runtimes",
    },
    "pfedfrz_emulator": {
        "pfedfrz_protocol",
        "pfedfrz_storage",
        "pfedfrz_transport",
        "pfedfrz_models",
        "pfedfrz_export",
        "pfedfrz_edge",
        "pfedfrz_coordinator",
        "pfedfrz_provision",
        "pfedfrz_monitor",
    },
    "pfedfrz": {room for room in ROOMS if room != "pfedfrz"},
}

BOARD_ROOMS = ("pfedfrz_protocol", "pfedfrz_storage", "pfedfrz_transport", "pfedfrz_edge")
NOT_ON_A_BOARD = (
    "torch",
    "onnx",
    "onnxscript",
    "matplotlib",
    "sklearn",
    "rich",
    "iotcore",
    "pfedfrz_models",
    "pfedfrz_export",
    "pfedfrz_emulator",
)


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / ROOMS[package] / package).rglob("*.py"))


def imports_of(file: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_every_room_is_here_and_has_files() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/pfedfrz_*/__init__.py")}
    assert packages == set(ROOMS) - {"pfedfrz"}
    assert all(files_of(package) for package in ROOMS)


@pytest.mark.parametrize("package", ROOMS)
def test_imports_point_down(package: str) -> None:
    wrong = []
    for file in files_of(package):
        for module in imports_of(file):
            room = module.partition(".")[0]
            if room not in ROOMS or room == package:
                continue
            allowed = MAY_IMPORT[package]
            named = any(module == a or module.startswith(f"{a}.") for a in allowed)
            if not named:
                wrong.append(f"{file.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_only_the_transport_knows_paho() -> None:
    users = {p for p in ROOMS for f in files_of(p) for m in imports_of(f) if m.startswith("paho")}
    assert users == {"pfedfrz_transport"}


def test_only_models_export_studies_and_the_wrappers_of_torch_know_torch() -> None:
    users = {
        (p, f.name if p == "pfedfrz_edge" else f.parent.name)
        for p in ROOMS
        for f in files_of(p)
        for m in imports_of(f)
        if m.partition(".")[0] == "torch"
    }
    assert {p for p, _ in users} == {
        "pfedfrz_models",
        "pfedfrz_export",
        "pfedfrz_edge",
        "pfedfrz_emulator",
    }
    assert {folder for p, folder in users if p == "pfedfrz_emulator"} == {"study"}
    # Imported when a device asks for a runtime that cannot do without torch, and never before.
    assert {name for p, name in users if p == "pfedfrz_edge"} == {
        "aten_program.py",
        "executorch_official.py",
        "torch.py",
    }


def test_the_protocol_does_no_input_or_output() -> None:
    forbidden = {"os", "socket", "subprocess", "threading", "asyncio", "time", "logging"}
    for file in files_of("pfedfrz_protocol"):
        assert not forbidden & {m.partition(".")[0] for m in imports_of(file)}, file


@pytest.mark.parametrize(
    "module",
    [
        "pfedfrz_edge.process",
        "pfedfrz_edge.runtimes",
        "pfedfrz_edge.use",
        "pfedfrz_coordinator.process",
        "pfedfrz.command",
        "pfedfrz.commands.device",
        "pfedfrz.commands.coordinator",
        "pfedfrz.commands.inspect",
        "pfedfrz.commands.provision",
        "pfedfrz_provision",
    ],
)
def test_what_runs_on_a_board_runs_without_the_desktops_packages(module: str) -> None:
    """In a process of its own, with torch, onnx, matplotlib and the desktop rooms blocked."""
    script = (
        "import sys, importlib\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {NOT_ON_A_BOARD!r}:\n"
        "            raise ImportError(f'{name} is not on a board')\n"
        "sys.meta_path.insert(0, Block())\n"
        f"importlib.import_module({module!r})\n"
        "from pfedfrz_edge.runtimes.registry import RUNTIMES\n"
        "import pfedfrz_edge.runtimes.onnxruntime, pfedfrz_edge.runtimes.onnxruntime_training\n"
        "import pfedfrz_edge.runtimes.aten_graph, pfedfrz_edge.runtimes.aten_guards\n"
        "import pfedfrz_edge.runtimes.executorch, pfedfrz_edge.runtimes.executorch_compiled\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_architecture_md_has_the_same_table() -> None:
    written: dict[str, set[str]] = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `pfedfrz") and len(cells) == 2:
            package = cells[0].strip("`")
            if cells[1] == "every room above":
                written[package] = {room for room in ROOMS if room != package} - {"pfedfrz"}
            elif cells[1] == "nothing of ours":
                written[package] = set()
            else:
                written[package] = {name.strip().strip("`") for name in cells[1].split(",")}
    assert written == MAY_IMPORT
