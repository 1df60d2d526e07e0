"""What makes a flashed card enrol by itself: one script that carries all that the board needs.

`first-boot.sh` of the firmware scripts unpacks what is behind its last line: the device's folder,
the firmware scripts and the wheel. Raspberry Pi Imager and cloud-init run it as root at the first
start, before there may be a network; it installs a unit that tries until the device is in.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError

from .board_folder import files_for_board
from .changes import NewFile, apply_changes
from .required_file import read_required

__all__ = ["CLOUD_INIT", "SCRIPT", "FirstBoot", "write_first_boot"]

SCRIPT = "first-boot.sh"
CLOUD_INIT = "user-data"
_PLACE = "/var/lib/pfedfrz-first-boot"
"""Where the script unpacks itself; first-boot.sh names it too."""
_MOST_BYTES = 256 << 20
_WHEEL = re.compile(r"pfedfrz-[A-Za-z0-9_.+!]+-py3-none-any\.whl")
_SECRET = "device.key"


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """What all boards get, read once."""

    files: Mapping[str, bytes]
    """The wheel and the firmware scripts, by their path in the archive."""
    script: bytes

    @classmethod
    def read(cls, wheel: Path) -> FirstBoot:
        """Raises ConfigurationError when `wheel` is no wheel of pfedfrz."""
        if not _WHEEL.fullmatch(wheel.name):
            raise ConfigurationError(
                f"{wheel}: want a wheel of pfedfrz, pfedfrz-VERSION-py3-none-any.whl; "
                "`pip wheel --no-deps -w dist .` makes it in a checkout"
            )
        content = read_required(wheel)
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ConfigurationError(f"{wheel}: not a wheel, or cut short: make or fetch it again")
        scripts = _firmware_scripts()
        files = {f"firmware_scripts/{name}": data for name, data in scripts.items()}
        return cls({wheel.name: content, **files}, scripts[SCRIPT])

    def for_device(self, folder: Path) -> dict[str, NewFile]:
        """`first-boot.sh` and `user-data` for the board that gets this folder; both hold secrets.

        The same folder gives the same bytes. Raises ConfigurationError as `files_for_board`.
        """
        own = {
            f"device/{name}": None if path is None else read_required(path)
            for name, path in _of_board(folder).items()
        }
        script = self.script + base64.encodebytes(_archive({**self.files, **own}))
        return {SCRIPT: NewFile(script, 0o600), CLOUD_INIT: NewFile(_cloud_init(script), 0o600)}


def write_first_boot(
    directory: Path, devices: Iterable[str], first_boot: FirstBoot
) -> tuple[str, ...]:
    """Make the files of those devices whose folder is still here with its secrets; their names.

    Raises ConfigurationError for what cannot be read and for samples that are not there, before
    any file is made, and OperationError when the disk refuses.
    """
    folders = {name: directory / "devices" / name for name in devices}
    ready = {name: folder for name, folder in folders.items() if (folder / _SECRET).exists()}
    for folder in ready.values():
        _of_board(folder)
    for folder in ready.values():
        apply_changes(folder, first_boot.for_device(folder))
    return tuple(ready)


def _of_board(folder: Path) -> dict[str, Path | None]:
    return files_for_board(folder, (SCRIPT, CLOUD_INIT), _MOST_BYTES)


def _firmware_scripts() -> dict[str, bytes]:
    """The scripts beside this room in a checkout, or inside the package where it is installed."""
    here = Path(__file__).parent
    for place in (here / "firmware_scripts", here.parents[1] / "firmware_scripts"):
        if (place / SCRIPT).is_file():
            return {
                str(path.relative_to(place)): read_required(path)
                for path in sorted(place.rglob("*"))
                if path.is_file() and path.suffix != ".md"
            }
    raise OperationError(f"{here}: the firmware scripts are not there: install pfedfrz again")


def _archive(files: Mapping[str, bytes | None]) -> bytes:
    """A tar of the files, gzipped; None is a folder."""
    buffer = io.BytesIO()
    # No times and no owners: what is the same has the same bytes.
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                archive.addfile(entry)
                continue
            entry.size = len(data)
            entry.mode = 0o700 if name.endswith(".sh") else 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _cloud_init(script: bytes) -> bytes:
    """The user-data of cloud-init: YAML, of which JSON is a part."""
    packed = base64.b64encode(gzip.compress(script, mtime=0)).decode()
    path = f"{_PLACE}/{SCRIPT}"
    document = {
        "write_files": [
            {"path": path, "permissions": "0700", "encoding": "gz+b64", "content": packed}
        ],
        "runcmd": [["bash", path]],
    }
    return b"#cloud-config\n" + json.dumps(document, indent=1).encode() + b"\n"
