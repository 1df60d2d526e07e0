"""Normalisation over a sample's own values, forward, in means and products.

Torch's own decompositions of these two go through views of memory that a graph does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["native_group_norm", "native_layer_norm", "var_correction", "var_mean_correction"]


def native_group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    samples: int,
    channels: int,
    positions: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised x, and the mean and reciprocal deviation of each group, `(samples, groups)`."""
    grouped = x.reshape(samples, groups, channels // groups * positions)
    centred, mean, rstd = _normalise(grouped, [2], eps)
    out = centred.reshape(x.shape)
    per_channel = [1, channels, *[1] * (x.dim() - 2)]
    if weight is not None:
        out = out * weight.reshape(per_channel)
    if bias is not None:
        out = out + bias.reshape(per_channel)
    return out, mean.squeeze(2), rstd.squeeze(2)


def native_layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised x, and mean and reciprocal deviation with the normalised axes kept as ones."""
    axes = list(range(x.dim() - len(normalized_shape), x.dim()))
    out, mean, rstd = _normalise(x, axes, eps)
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out, mean, rstd


def var_correction(
    x: Tensor,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Tensor:
    """The variance, divided by the count less `correction` (1 where None)."""
    return var_mean_correction(x, dim, correction=correction, keepdim=keepdim)[0]


def var_mean_correction(
    x: Tensor,
    dim: Sequence[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    """The variance, divided by the count less `correction` (1 where None), and the mean."""
    axes = list(dim) if dim else list(range(x.dim()))
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    squares = (centred * centred).sum(axes, keepdim=keepdim)
    variance = squares / (count - (1 if correction is None else correction))
    return variance, mean if keepdim else mean.squeeze(tuple(axes))


def _normalise(x: Tensor, axes: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    rstd = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    return centred * rstd, mean, rstd
