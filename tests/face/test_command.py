"""The command itself: help, exit codes, and one line for everything that goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from called_command import Call

import pfedfrz
from pfedfrz.command import cli

NAMES = ("emulate", "export", "inspect", "coordinator", "device", "dataset", "provision")


def in_a_process(script: str, *, stdout_is_gone: bool = False) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if stdout_is_gone:
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(script, process.returncode, out or "", err)


def test_the_help_names_every_command_and_how_to_begin(pfedfrz: Call) -> None:
    said = pfedfrz("--help")
    assert said.code == 0
    assert "Begin with:  pfedfrz emulate --dataset digits" in said.out
    assert all(f"\n  {name} " in said.out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example_and_fits_a_terminal(
    name: str, pfedfrz: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = pfedfrz(name, "-h")
    assert said.code == 0
    assert "Example" in said.out
    assert f"  pfedfrz {name} " in said.out
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_every_option_says_what_it_is_for(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert options
    assert [p.name for p in options if not p.help] == []


def test_the_version_is_the_packages(pfedfrz: Call) -> None:
    said = pfedfrz("--version")
    import pfedfrz as package

    assert (said.code, said.out) == (0, f"pfedfrz, version {package.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["emulat"], "error: no such command 'emulat' (see `pfedfrz --help`)"),
        (
            ["emulate", "--zzz", "3"],
            "error: no such option '--zzz' (see `pfedfrz emulate --help`)",
        ),
        (
            ["emulate", "--alpha", "much"],
            "error: invalid value for '--alpha': 'much' is not a valid float "
            "(see `pfedfrz emulate --help`)",
        ),
        (
            ["export", "mlp"],
            "error: missing option '-o' / '--output' (see `pfedfrz export --help`)",
        ),
        (["device"], "error: missing option '--config' (see `pfedfrz device --help`)"),
        (["inspect"], "error: missing argument 'BUNDLE' (see `pfedfrz inspect --help`)"),
    ],
)
def test_a_mistyped_command_is_told_in_one_line(
    arguments: list[str], line: str, pfedfrz: Call
) -> None:
    said = pfedfrz(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.error.lower() == line.lower()


def test_without_arguments_it_shows_the_help(pfedfrz: Call) -> None:
    said = pfedfrz()
    assert "Begin with:" in said.out + said.err


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("emulate", "torch", "emulator"),
        ("dataset", "sklearn", "emulator"),
        ("export", "torch", "export"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(
    name: str, missing: str, extra: str, tmp_path: Path
) -> None:
    arguments = {
        "emulate": ["emulate"],
        "dataset": ["dataset", "digits"],
        "export": ["export", "mlp", "-o", str(tmp_path / "m.pfz")],
    }[name]
    script = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
        "from pfedfrz.command import main; main()"
    )
    ended = in_a_process(script)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == (
        f"error: pfedfrz {name} needs the package {missing}, which is not installed; "
        f"pip install 'pfedfrz[{extra}]'\n"
    )


def test_a_reader_that_left_is_no_traceback() -> None:
    script = "import sys; sys.argv[1:] = ['--help']; from pfedfrz.command import main; main()"
    ended = in_a_process(script, stdout_is_gone=True)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_the_light_commands_load_no_heavy_package() -> None:
    script = (
        "import sys\nfrom pfedfrz.command import run\n"
        "codes = [run(['--help']), *(run([name, '--help']) for name in "
        f"{NAMES!r}), run(['inspect', 'nowhere.pfz'])]\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'matplotlib', 'rich', 'sklearn', 'iotcore'}\n"
        "print(codes, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ended = in_a_process(script)
    assert ended.stderr.splitlines()[-1] == f"{[0] * (1 + len(NAMES)) + [2]} []"


def test_the_package_is_typed() -> None:
    assert (Path(pfedfrz.__file__).parent / "py.typed").exists()
