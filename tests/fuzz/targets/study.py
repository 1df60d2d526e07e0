"""The TOML files of studies and experiments: tables, grids, variants, and what stands in them."""

from __future__ import annotations

from recipe import scratch

from pfedfrz_emulator.experiment import load_experiment
from pfedfrz_emulator.study.specification import read_study
from pfedfrz_protocol import ConfigurationError
from targets.configuration import nasty_toml


def target(data: bytes) -> None:
    """An odd first byte: an experiment; an even one: a study."""
    path = scratch() / "study.toml"
    path.write_bytes(data[1:])
    try:
        if data and data[0] & 1:
            load_experiment(path, {})
        else:
            read_study(path)
    except ConfigurationError:
        pass


_STUDY = b"""name = "s"
seeds = [0, 1]
measure_every = 2
form = "stacked"
[base]
dataset = "digits"
model = "mlp"
devices = 3
rounds = 1
[grid]
alpha = [0.1, 100]
attackers = [0, 1]
[[skip]]
alpha = [100]
attackers = [1]
[[variants]]
label = "a"
method = "pfedfrz"
personal = ["*"]
only = { attackers = [0] }
[[variants]]
label = "b"
method = "fedavg"
"""
_EXPERIMENT = b"""dataset = "digits"
model = "mlp"
devices = 3
rounds = 1
split = "dirichlet:alpha=0.3"
attack = "ipm:scale=2"
runtime = ["onnxruntime", "torch"]
[training]
epochs = 2
learning_rate = 0.1
"""


def seeds() -> dict[str, bytes]:
    found = {"study": b"\x00" + _STUDY, "experiment": b"\x01" + _EXPERIMENT}
    for name, text in nasty_toml().items():
        found[f"{name}-study"] = b"\x00" + text
    for name in ("deep-arrays", "huge-number", "not-a-number"):
        found[f"{name}-experiment"] = b"\x01" + nasty_toml()[name]
    changes = {
        "seeds-of-tables": (b"[0, 1]", b"[[0], {}]"),
        "unhashable": (b"alpha = [0.1, 100]", b"alpha = [[0.1], {a = 1}]"),
        "many-cells": (b"seeds = [0, 1]", b"seeds = [" + b",".join(b"%d" % n for n in range(40)) + b"]"),
        "label": (b'label = "a"', b"label = [1]"),
        "nan": (b"0.1", b"nan"),
        "path-trick": (b'"s"', b'"../../s"'),
        "name-of-another-kind": (b'"s"', b"{ a = 1 }"),
        "devices-huge": (b"devices = 3", b"devices = 9223372036854775807"),
        "devices-negative": (b"devices = 3", b"devices = -3"),
    }  # fmt: skip
    for name, (old, new) in changes.items():
        found[f"changed-{name}"] = b"\x00" + _STUDY.replace(old, new)
    return found
