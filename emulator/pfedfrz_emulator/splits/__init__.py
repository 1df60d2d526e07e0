"""Who gets which samples: label splits, label mixes, the balanced test set."""

from __future__ import annotations

from .balanced_test import select_test
from .dirichlet import DirichletSplit
from .iid import IidSplit
from .label_mix import label_mix
from .split import LabelSplit, Split

__all__ = ["DirichletSplit", "IidSplit", "LabelSplit", "Split", "label_mix", "select_test"]
