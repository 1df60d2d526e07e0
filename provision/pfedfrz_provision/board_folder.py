"""What of a device's folder goes to its board: its files, and the samples that lie among them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from pfedfrz_protocol import ConfigurationError
from pfedfrz_storage import read_configuration

__all__ = ["files_for_board"]

_STATE = "state"
"""What a device that ran in the folder has left: it is not the board's."""
_KIND = re.compile(r"(npz|folder|csv|factory):")


class _Samples(msgspec.Struct, frozen=True):
    train: str | None = None
    test: str | None = None


class _Device(msgspec.Struct, frozen=True):
    """Of `device.toml` what matters here; the board reads the rest."""

    data: _Samples = _Samples()


def files_for_board(
    folder: Path, left_out: Collection[str], most_bytes: int
) -> dict[str, Path | None]:
    """Every file below `folder` by its path from there, sorted, and None for each subfolder.

    Left out are hidden files and folders, `state/`, and the names `left_out` in the folder itself.
    Raises ConfigurationError for a symbolic link, which is not followed, for more than
    `most_bytes` in all, and for samples that `device.toml` names in the folder and that are not
    there.
    """
    found: dict[str, Path | None] = {}
    held = 0
    for path, bytes_there in _walk(folder, (*left_out, _STATE)):
        found[path.relative_to(folder).as_posix()] = None if bytes_there is None else path
        held += bytes_there or 0
    if held > most_bytes:
        raise ConfigurationError(
            f"{folder} holds {held >> 20} MiB, a first boot carries {most_bytes >> 20}: "
            "bring samples to the board in another way"
        )
    _check_samples(folder, found)
    return dict(sorted(found.items()))


def _walk(folder: Path, left_out: Collection[str]) -> Iterator[tuple[Path, int | None]]:
    """Files with their bytes, and folders with None."""
    for place, folders, files in os.walk(folder, onerror=_refuse):
        for name in (*folders, *files):
            path = Path(place) / name
            if name.startswith(".") or (name in left_out and Path(place) == folder):
                continue
            try:
                facts = path.lstat()
            except OSError as error:
                _refuse(error)
            if stat.S_ISREG(facts.st_mode):
                yield path, facts.st_size
            elif stat.S_ISDIR(facts.st_mode):
                yield path, None
            else:
                raise ConfigurationError(
                    f"{path} is neither a file nor a folder: put the file itself there, a first "
                    "boot follows no links"
                )
        is_root = Path(place) == folder
        folders[:] = [
            n for n in folders if not n.startswith(".") and not (is_root and n in left_out)
        ]


def _refuse(error: OSError) -> NoReturn:
    raise ConfigurationError(
        f"{error.filename}: cannot be read: {error.strerror or error}"
    ) from error


def _check_samples(folder: Path, found: Collection[str]) -> None:
    path = folder / "device.toml"
    data = read_configuration(path, _Device).data
    for key, source in (("train", data.train), ("test", data.test)):
        place = None if source is None else _place(source)
        if place is None or Path(place).is_absolute():
            continue  # the board has it already, or will
        if os.path.normpath(place) not in (*found, "."):
            raise ConfigurationError(
                f"{path}: {key} = {source!r} is not in {folder}: put it there, and run this again"
            )


def _place(source: str) -> str | None:
    """The path in a source of samples; None for a module that is installed."""
    kind = _KIND.match(source)
    place = source if kind is None else source[kind.end() :]
    if kind is None or kind[1] != "factory":
        return place
    place = place.rpartition(":")[0]
    return place if place.endswith(".py") else None
