from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from pfedfrz_monitor.report import RunRecord
from pfedfrz_monitor.report.palette import LIGHT
from pfedfrz_monitor.report.plots import accuracy_plot, label_mix_plot


def pixels_of(content: bytes, colour: str) -> int:
    """How many pixels of the PNG have exactly this colour."""
    image = np.rint(imread(io.BytesIO(content), format="png")[..., :3] * 255)
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((image == wanted).all(axis=-1).sum())


def test_both_accuracies_are_drawn(record: RunRecord) -> None:
    content = accuracy_plot(record)
    assert pixels_of(content, LIGHT.received) > 300
    assert pixels_of(content, LIGHT.local) > 300


def test_attackers_have_their_colour_in_the_label_mix(record: RunRecord) -> None:
    benign = tuple(replace(device, attacker=False) for device in record.devices)
    assert pixels_of(label_mix_plot(record), LIGHT.attacker) > 1000
    assert pixels_of(label_mix_plot(replace(record, devices=benign)), LIGHT.attacker) == 0


@pytest.mark.parametrize("devices", [1, 40, 250])
def test_any_number_of_devices_is_drawn(record: RunRecord, devices: int) -> None:
    many = tuple(replace(record.devices[0], device=f"d{n}") for n in range(devices))
    content = label_mix_plot(replace(record, devices=many, closing=None))
    assert pixels_of(content, "#ffffff") > 0
    height, width = imread(io.BytesIO(content), format="png").shape[:2]
    assert width == 1280
    assert height <= 6400


def test_runs_of_no_and_one_round_are_drawn(record: RunRecord) -> None:
    for rounds in (0, 1):
        cut = tuple(
            replace(device, received=device.received[:rounds], local=device.local[:rounds])
            for device in record.devices
        )
        short = replace(record, devices=cut, rounds=record.rounds[:rounds], closing=None)
        assert bool(pixels_of(accuracy_plot(short), LIGHT.local)) == bool(rounds)


def test_a_name_is_no_formula(record: RunRecord) -> None:
    named = replace(record.devices[0], device="$\\frac{")
    settings = replace(record.settings, dataset="npz:$HOME/$x_", method="a$b")
    odd = replace(record, settings=settings, devices=(named, *record.devices[1:]))
    assert accuracy_plot(odd).startswith(b"\x89PNG")
    assert label_mix_plot(odd).startswith(b"\x89PNG")


def test_the_same_run_gives_the_same_bytes(record: RunRecord) -> None:
    assert accuracy_plot(record) == accuracy_plot(record)
