"""A board that is a directory: a Debian for arm64 that is entered, its programs run by qemu."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROCESSOR = "cortex-a72"
"""That of a Raspberry Pi 4."""
_ENTER = """
set -e
root=$1 wants_sys=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
[ "$wants_sys" = no ] || mount --rbind /sys "$root/sys"
exec chroot "$root" "$@"
"""
"""In a mount namespace of its own, so that nothing stays mounted, however it ends."""


@dataclass(frozen=True)
class EmulatedBoard:
    """One copy of the root; the network is this machine's own."""

    root: Path

    @classmethod
    def make(cls, root: Path, template: Path) -> EmulatedBoard:
        root.mkdir()
        # What it holds, and not it: it may be a link to where there is room.
        subprocess.run(["cp", "-a", "--reflink=auto", f"{template}/.", root], check=True)
        for name in ("resolv.conf", "hosts", "ssl/certs/ca-certificates.crt"):
            shutil.copyfile(Path("/etc") / name, root / "etc" / name)
        return cls(root)

    def argv(self, *command: str, sys: bool = False) -> list[str]:
        """The command on the board.

        onnxruntime ends with a segmentation fault under qemu-user where /sys and /proc are both
        there (it does not on a board); ExecuTorch's XNNPACK wants both.
        """
        enter = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _ENTER, "enter"]
        return [*enter, str(self.root), "yes" if sys else "no", *command]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of this machine's but how it reaches its package index."""
        pip = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PIP_") and name != "PIP_FIND_LINKS"
        }
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", "QEMU_CPU": PROCESSOR, **pip}

    def run(
        self, *command: str, sys: bool = False, timeout_s: float = 900.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*command, sys=sys),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def installed_mib(self) -> int:
        """What the program takes on the disk, /opt/pfedfrz."""
        said = subprocess.run(
            ["du", "-sm", self.root / "opt" / "pfedfrz"], check=True, capture_output=True, text=True
        )
        return int(said.stdout.split()[0])
