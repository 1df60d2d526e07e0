"""Where a run is, from whatever path a person gives for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_protocol import ConfigurationError

from .description import DESCRIPTION_FILE

__all__ = ["RunPlace", "find_place"]

_JOURNAL = "journal.sqlite"
_CONFIGURATION = "coordinator.toml"
_OF_EMULATION = "coordinator"


@dataclass(frozen=True)
class RunPlace:
    """The files of one federation."""

    directory: Path
    """What a person calls the run: an emulated run's directory, or a coordinator's state_dir."""
    state_dir: Path
    configuration: Path | None = None
    """The coordinator's TOML file, where it is beside the state."""

    @property
    def journal(self) -> Path:
        """The coordinator's journal."""
        return self.state_dir / _JOURNAL

    @property
    def is_emulated(self) -> bool:
        """Whether `pfedfrz emulate` made it."""
        return (self.directory / DESCRIPTION_FILE).is_file()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.directory.resolve().name


def find_place(path: Path) -> RunPlace:
    """The run at `path`: a coordinator's state_dir, a coordinator.toml or its folder, or the
    directory of an emulated run. ConfigurationError when there is none.
    """
    if path.is_file() and path.suffix == ".toml":
        return _configured(path)
    if path.is_file() and path.name == _JOURNAL:
        path = path.parent
    if not path.is_dir():
        raise ConfigurationError(f"{path}: there is no such directory")
    parent = path.resolve().parent
    if (path / _JOURNAL).is_file():
        if path.resolve().name == _OF_EMULATION and (parent / DESCRIPTION_FILE).is_file():
            return find_place(path.parent if path.name else parent)
        return RunPlace(path, path)
    if (path / _OF_EMULATION / _JOURNAL).is_file():
        configuration = path / _CONFIGURATION
        return RunPlace(
            path, path / _OF_EMULATION, configuration if configuration.is_file() else None
        )
    if (path / _CONFIGURATION).is_file():
        return _configured(path / _CONFIGURATION)
    raise ConfigurationError(
        f"{path}: no journal is in it; give a coordinator's state_dir, the folder of its "
        "coordinator.toml, or the directory of a run of pfedfrz emulate"
    )


def _configured(path: Path) -> RunPlace:
    state_dir = load_coordinator_settings(path).state_dir
    if not (state_dir / _JOURNAL).is_file():
        raise ConfigurationError(
            f"{path}: its state_dir {state_dir} has no journal yet: start the coordinator first"
        )
    return RunPlace(state_dir, state_dir, path)
