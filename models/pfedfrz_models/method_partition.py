"""The partition that a method and a person together ask for."""

from __future__ import annotations

from collections.abc import Sequence

from pfedfrz_protocol import ConfigurationError, Method, Partition, uniform_partition

from .architecture import NamedModel
from .presets import resolve_partition

__all__ = ["method_partition"]


def method_partition(method: Method, model: NamedModel, personal: Sequence[str]) -> Partition:
    """The partition of `model` for `method`, with `personal` presets and patterns if there are any.

    Without them it is the method's default. Raises ConfigurationError for words that name nothing,
    and when the method fixes the partition itself, as FedAvg and Local do.
    """
    if method.uniform is None:
        words = personal or method.personal_default
        return resolve_partition(model.parameter_names, model.presets, words)
    if personal:
        raise ConfigurationError(
            f"method {method.name} puts every parameter in the {method.uniform.value} group; "
            "leave --personal out"
        )
    return uniform_partition(model.parameter_names, method.uniform)
