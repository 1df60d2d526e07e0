"""What a study runs: a small TOML file, checked as a whole before anything runs.

name = "front or head"
seeds = [0, 1, 2]

[base]                      # the settings of every cell, named as those of `pfedfrz emulate`
dataset = "mnist"
model = "mlp"
rounds = 30

[base.training]
learning_rate = 0.03

[grid]                      # every combination of these values
alpha = [0.1, 100]
attackers = [0, 4, 8]

[[variants]]                # what is compared, in every combination and with every seed
label = "pFedFrz, front"
method = "pfedfrz"
personal = ["front"]
only = { attackers = [0, 8] }   # in these combinations alone; without it in all

[[skip]]                    # combinations that nobody runs
alpha = [100]
attackers = [4]

[fallback]                  # what stands in for a dataset that cannot be had, said in the report
emnist-balanced = "fashion-mnist"

[quick]                     # what `--quick` changes; see reduction.py
seeds = [0, 1]
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pfedfrz_protocol import ConfigurationError, Hyperparameters, sha256_hex

from ..experiment import Experiment
from .faults import Faults

__all__ = ["CellRequest", "Study", "StudyForm", "parse_study", "read_study", "read_tables", "shown"]

_MOST_CELLS = 100_000


class StudyForm(str, enum.Enum):
    """How gradients are computed; `auto` takes what is measured to be the quickest."""

    AUTO = "auto"
    EAGER = "eager"
    STACKED = "stacked"
    DEVICE = "device"


@dataclass(frozen=True)
class CellRequest:
    """One experiment of a study, and the names that reports give it."""

    variant: str
    group: str
    """What a variant is compared within: `alpha = 0.1, attackers = 8`."""
    experiment: Experiment

    @property
    def digest(self) -> str:
        """What a finished cell is found by when a study goes on."""
        experiment = msgspec.to_builtins(self.experiment)
        for name in _OF_FLEETS:
            del experiment[name]
        return sha256_hex(msgspec.json.encode([self.variant, experiment]))


@dataclass(frozen=True)
class Study:
    """A study: what every cell shares, what is varied, what is compared."""

    name: str
    seeds: tuple[int, ...]
    cells: tuple[CellRequest, ...]
    """In the order of combinations, seeds, variants: early results compare like with like."""
    variants: tuple[str, ...]
    grid: tuple[str, ...]
    """The names of the settings that are varied."""
    measure_every: int = 5
    form: StudyForm = StudyForm.AUTO
    about: str = ""
    """A few sentences for the report."""
    notes: tuple[str, ...] = ()
    """What a reader of the results has to know: a dataset that stands in for another."""


_KEYS = {"name", "about", "seeds", "measure_every", "form", "base", "grid", "skip", "variants"}
_BEFORE = {"fallback", "quick"}
"""Tables that are worked in before the study is parsed: see substitution.py and reduction.py."""
_OF_FLEETS = frozenset({"faults", "overselect", "buffer"})
"""Without processes and links there is nothing to kill or to cut, and nobody is late."""
_FIELDS = frozenset(Experiment.__struct_fields__) - _OF_FLEETS
_TRAINING = frozenset(Hyperparameters.__struct_fields__)


def read_study(path: Path) -> Study:
    """The study in a TOML file; ConfigurationError names the file and all that is wrong with it."""
    return parse_study(read_tables(path), str(path))


def read_tables(path: Path) -> dict[str, Any]:
    """What a TOML file holds; ConfigurationError when it cannot be read."""
    try:
        given: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    return given


def parse_study(given: Mapping[str, Any], where: str, notes: tuple[str, ...] = ()) -> Study:
    """The study that the tables describe; ConfigurationError lists every fault, each once."""
    faults = Faults()
    _check_keys({k: v for k, v in given.items() if k not in _BEFORE}, _KEYS, "", faults)
    base = _settings(_table(given, "base", faults), "[base]", faults)
    grid = _grid(given, faults)
    skipped = _skipped(given, grid, faults)
    variants = _variants(given, grid, faults)
    seeds = given.get("seeds", [0])
    if not _are_whole(seeds):
        faults.add(f"seeds = {seeds!r}: want a list of whole numbers from 0, none twice")
        seeds = [0]
    every = given.get("measure_every", 5)
    if not isinstance(every, int) or every < 1:
        faults.add(f"measure_every = {every!r}: want 1 or more")
        every = 5
    form = given.get("form", "auto")
    if form not in [kind.value for kind in StudyForm]:  # no set: a list may stand there
        known = ", ".join(kind.value for kind in StudyForm)
        faults.add(f"form = {form!r}: want one of {known}")
        form = "auto"
    count = len(seeds) * len(variants)
    for values in grid.values():
        count *= len(values)
    if count > _MOST_CELLS:
        raise ConfigurationError(f"{where}: {count} cells; {_MOST_CELLS} are the most")
    cells = tuple(_cells(base, grid, skipped, variants, seeds, faults))
    faults.raise_any(where)
    labels = tuple(variant.label for variant in variants)
    name, about = str(given.get("name", Path(where).stem)), str(given.get("about", "")).strip()
    return Study(
        name, tuple(seeds), cells, labels, tuple(grid), every, StudyForm(form), about, notes
    )


@dataclass(frozen=True)
class _Variant:
    label: str
    settings: Mapping[str, Any]
    only: Mapping[str, list[Any]]


def _cells(
    base: Mapping[str, Any],
    grid: Mapping[str, list[Any]],
    skipped: list[Mapping[str, list[Any]]],
    variants: list[_Variant],
    seeds: list[int],
    faults: Faults,
) -> Iterator[CellRequest]:
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        if any(all(chosen[name] in out for name, out in skip.items()) for skip in skipped):
            continue
        group = ", ".join(f"{name} = {shown(value)}" for name, value in chosen.items())
        for seed, variant in itertools.product(seeds, variants):
            if any(chosen[name] not in wanted for name, wanted in variant.only.items()):
                continue
            where = f"{variant.label!r}" + (f" at {group}" if group else "")
            try:
                experiment = _experiment({**base, **chosen, **variant.settings, "seed": seed})
            except (ConfigurationError, msgspec.ValidationError) as error:
                faults.add(error, where)
            else:
                yield CellRequest(variant.label, group, experiment)


def _experiment(settings: Mapping[str, Any]) -> Experiment:
    """The experiment of flat settings: those of the training may stand among the others."""
    own = {name: value for name, value in settings.items() if name not in _TRAINING}
    training = dict(own.pop("training", {}))
    training.update({name: value for name, value in settings.items() if name in _TRAINING})
    return msgspec.convert({**own, "training": training}, Experiment)


def _grid(given: Mapping[str, Any], faults: Faults) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    grid = _table(given, "grid", faults)
    _check_keys(grid, (_FIELDS | _TRAINING) - {"seed", "training"}, "[grid]", faults)
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            faults.add(f"[grid] {name}: want a list of values")
        elif name in _FIELDS | _TRAINING:
            found[name] = values
    return found


def _variants(
    given: Mapping[str, Any], grid: Mapping[str, list[Any]], faults: Faults
) -> list[_Variant]:
    variants = given.get("variants", [])
    if not isinstance(variants, list) or not variants:
        faults.add("[[variants]]: want one or more, each with a label")
        return []
    found: list[_Variant] = []
    for number, variant in enumerate(variants, 1):
        label = variant.get("label") if isinstance(variant, dict) else None
        if not isinstance(label, str) or not label:
            faults.add(f"[[variants]] {number}: label is missing")
            continue
        if label in [other.label for other in found]:
            faults.add(f"[[variants]] {number}: label {label!r} is there twice")
            continue
        place = f"[[variants]] {label!r}"
        settings = {k: v for k, v in variant.items() if k not in ("label", "only")}
        settings = _settings(settings, place, faults)
        only = _table(variant, "only", faults)
        if not _are_in(only, grid, f"{place} only", faults):
            only = {}
        found.append(_Variant(label, settings, only))
    return found


def _skipped(
    given: Mapping[str, Any], grid: Mapping[str, list[Any]], faults: Faults
) -> list[Mapping[str, list[Any]]]:
    skipped = given.get("skip", [])
    if not isinstance(skipped, list) or not all(isinstance(s, dict) and s for s in skipped):
        faults.add("[[skip]]: want tables of settings of the grid")
        return []
    return [skip for skip in skipped if _are_in(skip, grid, "[[skip]]", faults)]


def _are_in(
    chosen: Mapping[str, Any], grid: Mapping[str, list[Any]], where: str, faults: Faults
) -> bool:
    """Whether every setting has a list of values of the grid; a fault for each that has not."""
    wrong = [
        name
        for name, values in chosen.items()
        if name not in grid
        or not isinstance(values, list)
        or any(value not in grid.get(name, []) for value in values)
    ]
    for name in wrong:
        faults.add(f"{where}: {name} = {chosen[name]!r}: want a list of values of the grid")
    return not wrong


def _settings(given: Mapping[str, Any], where: str, faults: Faults) -> dict[str, Any]:
    """What there is of known settings; of the unknown ones only the fault stays."""
    _check_keys(given, (_FIELDS | _TRAINING) - {"seed"}, where, faults)
    found = {name: value for name, value in given.items() if name in _FIELDS | _TRAINING}
    training = found.get("training")
    if isinstance(training, dict):
        _check_keys(training, _TRAINING, f"{where} training", faults)
        found["training"] = {k: v for k, v in training.items() if k in _TRAINING}
    elif training is not None:
        faults.add(f"{where} training: want a table")
        del found["training"]
    return found


def _check_keys(
    given: Mapping[str, Any], known: set[str] | frozenset[str], where: str, faults: Faults
) -> None:
    for name in given:
        if name not in known:
            place = f"{where} " if where else ""
            faults.add(f"{place}unknown key {name!r} (the keys are: {', '.join(sorted(known))})")


def _table(given: Mapping[str, Any], name: str, faults: Faults) -> dict[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        faults.add(f"[{name}]: want a table")
        return {}
    return table


def _are_whole(seeds: object) -> bool:
    return (
        isinstance(seeds, list)
        and bool(seeds)
        and all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds)
        and len(set(seeds)) == len(seeds)
    )


def shown(value: object) -> str:
    """A setting's value as reports write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
