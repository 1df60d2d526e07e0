"""What an emulated federation is asked to do, checked as a whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pfedfrz_coordinator.aggregation import find_rule
from pfedfrz_edge.runtimes import RUNTIMES
from pfedfrz_models import ARCHITECTURES
from pfedfrz_protocol import (
    ConfigurationError,
    Encoding,
    Hyperparameters,
    decode_configuration,
    find_method,
)

from .attacks import Attack, find_attack
from .datasets import check_dataset_name
from .splits import DirichletSplit, IidSplit, LabelSplit

__all__ = ["Experiment", "load_experiment"]


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run of a fleet; the defaults are those of `pfedfrz emulate`."""

    method: str = "pfedfrz"
    dataset: str = "mnist"
    alpha: float = 0.1
    """Concentration of the Dirichlet label split."""
    iid: bool = False
    """Split evenly instead; alpha then means nothing."""
    model: str = "cnn-small"
    personal: tuple[str, ...] = ()
    """Presets and patterns of the personal group; empty takes the method's default."""
    devices: int = 10
    attackers: int = 0
    attack: str = "sign-flip"
    rounds: int = 10
    runtime: str = "onnxruntime"
    seed: int = 0
    samples: int = 600
    """Training samples that every device wants."""
    test_per_class: int = 100
    """Test samples of every label, the same for all devices."""
    aggregation: str = "mean"
    participants: int = 0
    deadline_s: float = 120.0
    encoding: Encoding = Encoding.DELTA_FLOAT16
    training: Hyperparameters = Hyperparameters()

    def __post_init__(self) -> None:
        find_method(self.method)
        find_rule(self.aggregation)
        find_attack(self.attack)
        check_dataset_name(self.dataset)
        self.split()
        if self.model not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise ConfigurationError(f"unknown model {self.model!r}; the models are: {known}")
        if self.runtime not in RUNTIMES:
            known = ", ".join(RUNTIMES)
            raise ConfigurationError(f"unknown runtime {self.runtime!r}; the runtimes are: {known}")
        for name in ("devices", "rounds", "samples", "test_per_class"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} = {getattr(self, name)}; want 1 or more")
        for name in ("attackers", "participants", "seed"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"{name} = {getattr(self, name)}; want 0 or more")
        if self.attackers >= self.devices:
            raise ConfigurationError(
                f"{self.attackers} attackers among {self.devices} devices; "
                "at least one device must be benign"
            )
        if not self.deadline_s > 0:
            raise ConfigurationError(f"deadline_s = {self.deadline_s}; want above 0")

    @property
    def personal_words(self) -> tuple[str, ...]:
        """The presets and patterns in force; empty where the method fixes the partition."""
        method = find_method(self.method)
        return () if method.uniform else self.personal or method.personal_default

    def split(self) -> LabelSplit:
        """How the samples are dealt out."""
        return IidSplit() if self.iid else DirichletSplit(self.alpha)

    def resolve_attack(self) -> Attack:
        """What attackers do."""
        return find_attack(self.attack)


def load_experiment(config: Path | None, options: Mapping[str, object]) -> Experiment:
    """The experiment in a TOML file, with every option that is not None put over it.

    Options are named like the fields of Experiment and, flat, of Hyperparameters. Raises
    ConfigurationError for a file that cannot be read, an unknown key and an impossible value.
    """
    experiment = Experiment()
    if config is not None:
        try:
            content = config.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{config}: cannot be read: {error.strerror}") from error
        experiment = decode_configuration(content, str(config), Experiment)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    training_names = Hyperparameters.__struct_fields__
    training = {name: given.pop(name) for name in training_names if name in given}
    if training:
        given["training"] = msgspec.structs.replace(experiment.training, **training)
    return msgspec.structs.replace(experiment, **given)
