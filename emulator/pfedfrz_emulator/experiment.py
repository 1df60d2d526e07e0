"""What an emulated federation is asked to do, checked as a whole before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from pfedfrz_coordinator.aggregation import find_rule, require_clients
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_edge.runtimes import RUNTIMES
from pfedfrz_models import ARCHITECTURES, build_model, method_partition
from pfedfrz_protocol import (
    ConfigurationError,
    Encoding,
    Hyperparameters,
    find_method,
)
from pfedfrz_storage import read_configuration

from .attacks import Attack, find_attack
from .datasets import check_dataset_name
from .faults.profile import FaultProfile, find_faults
from .splits import DirichletSplit, IidSplit, LabelSplit, find_split
from .splits.split import MIN_SAMPLES

__all__ = ["Experiment", "load_experiment"]

_LARGEST_SEED = 2**63 - 1
"""What every random generator and TOML can hold."""


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of a fleet; the defaults are those of `pfedfrz emulate`."""

    method: str = "pfedfrz"
    dataset: str = "mnist"
    alpha: float = 0.1
    """Concentration of the Dirichlet label split."""
    iid: bool = False
    """Split evenly instead; alpha then means nothing."""
    split: str = ""
    """Any split as `NAME:KEY=VALUE,...` in place of alpha and iid."""
    model: str = "cnn-small"
    personal: tuple[str, ...] = ()
    """Presets and patterns of the personal group; empty takes the method's default."""
    devices: int = 10
    attackers: int = 0
    attack: str = "sign-flip"
    rounds: int = 10
    runtime: str | tuple[str, ...] = "onnxruntime"
    """One for all devices, or several that devices take in turn."""
    seed: int = 0
    samples: int = 600
    """Training samples that every device wants."""
    test_per_class: int = 100
    """Test samples of every label, the same for all devices."""
    aggregation: str = "mean"
    """A rule with its settings, such as "krum:attackers=2"."""
    participants: int = 0
    overselect: float = 0.0
    """Share of devices asked beyond `participants`, whose first updates close a round."""
    buffer: int = 0
    """So many updates make a new model, whoever is still busy (FedBuff); 0 waits for everybody."""
    deadline_s: float = 120.0
    encoding: Encoding = Encoding.DELTA_FLOAT16
    faults: str = "calm"
    """What goes wrong with processes and links, such as "harsh:kills=3"; for fleets alone."""
    training: Hyperparameters = Hyperparameters()

    def __post_init__(self) -> None:
        method = find_method(self.method)
        rule = find_rule(self.aggregation)
        find_attack(self.attack)
        self.resolve_faults().check_fleet(self.devices)
        check_dataset_name(self.dataset)
        self.resolve_split()
        method.schedule(self.training)
        if self.model not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise ConfigurationError(f"unknown model {self.model!r}; the models are: {known}")
        for runtime in self.runtimes or ("",):
            if runtime not in RUNTIMES:
                known = ", ".join(RUNTIMES)
                raise ConfigurationError(f"unknown runtime {runtime!r}; the runtimes are: {known}")
        self._check_numbers()
        self.round_policy()
        selected = self.buffer or self.participants or self.devices
        require_clients(rule, selected, f"this fleet selects {selected}")
        # A pattern that fits nothing is said before data is fetched.
        _require_partition(self.method, self.model, self.personal)

    def _check_numbers(self) -> None:
        bounds = {
            "devices": (1, None),
            "rounds": (1, None),
            "samples": (MIN_SAMPLES, None),
            "test_per_class": (1, None),
            "attackers": (0, None),
            "participants": (0, self.devices),
            "buffer": (0, self.devices),
            "seed": (0, _LARGEST_SEED),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                wanted = f"{least} or more" if most is None else f"{least} to {most}"
                raise ConfigurationError(f"{name} = {value}; want {wanted}")
        if self.attackers >= self.devices:
            raise ConfigurationError(
                f"{self.attackers} attackers among {self.devices} devices; "
                "at least one device must be benign"
            )
        if not 0 < self.deadline_s < math.inf:
            raise ConfigurationError(
                f"deadline_s = {self.deadline_s}; want a number of seconds above 0"
            )

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes in the order in which devices take them."""
        return (self.runtime,) if isinstance(self.runtime, str) else self.runtime

    def round_policy(self) -> RoundPolicy:
        """How the coordinator runs the rounds."""
        return RoundPolicy(
            rounds=self.rounds,
            start_devices=self.devices,
            participants=self.participants,
            overselect=self.overselect,
            buffer=self.buffer,
            deadline_s=self.deadline_s,
            seed=self.seed,
        )

    def resolve_split(self) -> LabelSplit:
        """How the samples are dealt out."""
        if self.split:
            if self.iid:
                raise ConfigurationError(f"iid and split = {self.split!r} exclude each other")
            return find_split(self.split)
        return IidSplit() if self.iid else DirichletSplit(self.alpha)

    def resolve_attack(self) -> Attack:
        """What attackers do."""
        return find_attack(self.attack)

    def resolve_faults(self) -> FaultProfile:
        """What goes wrong on purpose."""
        return find_faults(self.faults)


@lru_cache(maxsize=256)
def _require_partition(method: str, model: str, personal: tuple[str, ...]) -> None:
    """Raise ConfigurationError unless the partition can be made.

    Building a network takes milliseconds, and a study has the same one in a thousand cells.
    """
    method_partition(find_method(method), build_model(model, 1, 0), personal)


def load_experiment(config: Path | None, options: Mapping[str, object]) -> Experiment:
    """The experiment in a TOML file, with every option that is not None put over it.

    Options are named like the fields of Experiment and, flat, of Hyperparameters. Raises
    ConfigurationError for a file that cannot be read, an unknown key and an impossible value.
    """
    experiment = Experiment() if config is None else read_configuration(config, Experiment)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    runtimes = given.get("runtime")
    if isinstance(runtimes, tuple) and len(runtimes) == 1:
        (given["runtime"],) = runtimes
    ways = [name for name in ("split", "alpha", "iid") if name in given]
    if len(ways) > 1:
        raise ConfigurationError(
            f"{' and '.join(ways)} exclude each other: alpha X is split dirichlet:alpha=X, iid is "
            "split iid"
        )
    if ways:  # said on the command line, it also wins over what the file says
        given = {"split": "", "iid": False, **given}
    training_names = Hyperparameters.__struct_fields__
    training = {name: given.pop(name) for name in training_names if name in given}
    if training:
        given["training"] = msgspec.structs.replace(experiment.training, **training)
    return msgspec.structs.replace(experiment, **given)
