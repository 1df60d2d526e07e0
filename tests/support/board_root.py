"""A board's file system to throw away: Debian 12 in an overlay, entered by chroot or booted.

The Debian underneath and the wheels that pip takes are made once and kept in
`${XDG_CACHE_HOME:-~/.cache}/pfedfrz-roots`. pip reaches nothing but those wheels, so that no test
depends on a network.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pfedfrz-roots"
PACKAGES = "systemd,systemd-sysv,python3,python3-venv,ca-certificates,mosquitto"
SCRIPTS = "/media/usb/firmware_scripts"
PLACES = ("opt", "etc", "var/lib", "usr/local")
CLEAN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/wheelhouse",
}
_NO_ORIGIN = {**os.environ, "LC_ALL": "C"}


def debian() -> Path:
    """The Debian 12 that every board's root lies over."""
    made = CACHE / "bookworm"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = CACHE / "bookworm.partial"
        shutil.rmtree(partial, ignore_errors=True)
        options = ["--variant=minbase", f"--include={PACKAGES}", "bookworm", partial]
        subprocess.run(["debootstrap", *options, _mirror()], check=True, stdout=subprocess.DEVNULL)
        partial.rename(made)
    return made


def _mirror() -> str:
    """Where this machine's own packages of Debian 12 come from."""
    form = ["--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"]
    listed = subprocess.run(
        ["apt-get", "indextargets", *form], check=True, capture_output=True, text=True
    )
    return next(
        line.split()[0] for line in listed.stdout.splitlines() if line.endswith(" bookworm")
    )


def wheelhouse(wheel: Path) -> Path:
    """The wheels that this project needs on Debian 12, and what builds it."""
    made = CACHE / f"wheels-2-{sha256((ROOT / 'pyproject.toml').read_bytes()).hexdigest()[:8]}"
    if not made.exists():
        partial = CACHE / "wheels.partial"
        shutil.rmtree(partial, ignore_errors=True)
        machine = platform.machine()
        kinds = [f"manylinux{kind}_{machine}" for kind in ("_2_28", "_2_27", "_2_17", "2014")]
        options = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
        options += [f"--platform={kind}" for kind in kinds]
        command = ["python", "-m", "pip", "download", "--quiet", *options, "--dest", partial]
        subprocess.run([*command, f"{wheel}[onnxruntime,images]", "hatchling"], check=True)
        (partial / wheel.name).unlink()
        partial.rename(made)
    return made


def build_wheel(folder: Path) -> Path:
    """This checkout's wheel."""
    command = ["python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True)
    return next(folder.glob("pfedfrz-*.whl"))


def other_wheel(
    wheel: Path,
    version: str,
    folder: Path,
    changed: Mapping[str, Callable[[str], str]] | None = None,
) -> Path:
    """The same wheel with another version, and files changed as the functions say."""
    old = wheel.name.split("-")[1]
    made = folder / wheel.name.replace(f"-{old}-", f"-{version}-")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("dist-info/METADATA"):
                content = re.sub(rb"(?m)^Version: .*$", b"Version: " + version.encode(), content)
            elif name.endswith("dist-info/RECORD"):
                content = b"".join(
                    re.sub(rb",.*", b",,", line) for line in content.splitlines(keepends=True)
                ).replace(f"pfedfrz-{old}.".encode(), f"pfedfrz-{version}.".encode())
            elif changed and name in changed:
                content = changed[name](content.decode()).encode()
            target.writestr(name.replace(f"pfedfrz-{old}.", f"pfedfrz-{version}."), content)
    return made


@dataclass
class BoardRoot:
    """One board. `layers` lie over Debian, the uppermost first; what is written goes to `upper`."""

    folder: Path
    wheels: Path
    layers: tuple[Path, ...] = ()
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def path(self) -> Path:
        return self.folder / "root"

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    def __enter__(self) -> BoardRoot:
        for name in ("root", "upper", "work"):
            (self.folder / name).mkdir(parents=True)
        lower = ":".join(map(str, (*self.layers, debian())))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={self.folder / 'work'}"
        self._mount(self.path, "-t", "overlay", "overlay", "-o", options)
        for name in ("wheelhouse", "media/usb"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        (self.path / "etc/hosts").write_text("127.0.0.1 localhost\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        shutil.rmtree(self.folder / "work", ignore_errors=True)

    def _mount(self, place: Path, *options: str) -> None:
        subprocess.run(["mount", *options, str(place)], check=True, env=_NO_ORIGIN)
        self._closing.callback(subprocess.run, ["umount", "--lazy", str(place)], check=True)

    def mount_for_chroot(self) -> BoardRoot:
        """What programs in a chroot need, and a booted system brings itself."""
        self._mount(self.path / "proc", "-t", "proc", "proc")
        self._mount(self.path / "wheelhouse", "--bind", "-o", "ro", str(self.wheels))
        return self

    def mount_small(self, place: str, size: str) -> None:
        """A disk of its own for one folder."""
        (self.path / place).mkdir(parents=True, exist_ok=True)
        self._mount(self.path / place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def bring(self, source: Path, place: str = "media/usb") -> None:
        """Copy a folder or file onto the board."""
        target = self.path / place / source.name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)
        else:
            shutil.copy2(source, target)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run something as root, with nothing of this machine's environment."""
        return subprocess.run(
            ["chroot", str(self.path), *command],
            env={**CLEAN, **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def script(
        self, name: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        return self.run(f"{SCRIPTS}/{name}", *arguments, **environment)

    def replace_command(self, name: str, lines: str) -> None:
        """A command that comes before the board's own."""
        file = self.path / "usr/local/sbin" / name
        file.write_text(f"#!/bin/sh\n{lines}\n")
        file.chmod(0o755)

    def files(self) -> Iterator[Path]:
        """All that is in the places which an installation writes to."""
        for place in PLACES:
            for folder, folders, names in os.walk(self.path / place):
                for name in (*folders, *names):
                    yield Path(folder) / name

    def state(self) -> dict[str, tuple[object, ...]]:
        """What is there, and whose, so that two boards or two moments can be compared."""
        found: dict[str, tuple[object, ...]] = {}
        for path in self.files():
            kind = path.lstat()
            content: object = None
            if stat.S_ISLNK(kind.st_mode):
                content = str(path.readlink())
            elif stat.S_ISREG(kind.st_mode) and "/opt/" not in str(path):
                content = sha256(path.read_bytes()).hexdigest()
            name = str(path.relative_to(self.path))
            if "__pycache__" not in name and name not in _OF_ITS_TIME:
                found[name] = (kind.st_mode, kind.st_uid, kind.st_gid, content)
        return found

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Inode and time of change of every file."""
        return {str(p): (p.lstat().st_ino, p.lstat().st_mtime_ns) for p in self.files()}


_OF_ITS_TIME = (
    "etc/shadow",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/group-",
    "etc/hosts",
)


class BootedBoard:
    """A board whose systemd runs, in a container with a loopback interface alone."""

    def __init__(self, root: BoardRoot) -> None:
        self.root = root
        self._log = (root.folder / "boot.log").open("wb")
        self._process = subprocess.Popen(
            [
                *("systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--private-network"),
                *("--machine", f"pfedfrz-{os.getpid()}", f"--bind-ro={root.wheels}:/wheelhouse"),
                *("--directory", str(root.path)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> BootedBoard:
        self.until(lambda: self.leader() is not None)
        up = ("running", "degraded")
        self.until(lambda: self.run("systemctl", "is-system-running").stdout.strip() in up)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()  # asks systemd in there to power off
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def leader(self) -> int | None:
        """The container's first process."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run something as root on the board."""
        enter = ["nsenter", "--target", str(self.leader()), "--mount", "--uts", "--ipc", "--net"]
        return subprocess.run(
            [*enter, "--pid", "--root", "--wd", *command],
            env=CLEAN,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        return self.run(f"{SCRIPTS}/{name}", *arguments)

    def property(self, name: str, unit: str = "pfedfrz-device") -> str:
        """What systemd says of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    def journal(self) -> str:
        """All that was logged."""
        return self.run("journalctl", "--no-pager", "--output=cat").stdout

    def until(self, holds: Callable[[], bool], patience_s: float = 60.0) -> None:
        """Wait for something; it fails with what was logged."""
        deadline = time.monotonic() + patience_s
        while not holds():
            assert self._process.poll() is None, (self.root.folder / "boot.log").read_text()
            if time.monotonic() > deadline:
                raise AssertionError(self.journal()[-6000:])
            time.sleep(0.2)
