from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pfedfrz_monitor.report import RunRecord, encode_summary


def decoded(record: RunRecord) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(encode_summary(record), parse_constant=refuse)
    assert isinstance(content, dict)
    return content


def test_it_holds_what_the_run_was_and_what_came_of_it(record: RunRecord) -> None:
    summary = decoded(record)
    expected = {
        "method": "pfedfrz",
        "dataset": "mnist",
        "alpha": 0.1,
        "model": "cnn-small",
        "personal": "front",
        "devices": 3,
        "attackers": 1,
        "attack": "sign-flip",
        "rounds": 2,
        "rounds_completed": 2,
        "seed": 7,
        "runtime": "onnxruntime",
        "broker": "mosquitto",
        "wall_s": 6.25,
        "updates": {"accepted": 4, "rejected": {"late": 1, "norm-exceeded": 1}},
        "bytes": {"uplink": 505, "downlink": 1400},
        "attacker_devices": ["d2"],
    }
    assert {key: summary[key] for key in expected} == expected
    assert summary["accuracy"]["received"]["mean"] == pytest.approx(0.8)
    assert summary["accuracy"]["received"]["std"] == pytest.approx(0.1)
    assert summary["accuracy"]["local"]["mean"] == pytest.approx(0.9)
    assert summary["accuracy"]["local"]["measured"] == "closing evaluation"


def test_what_was_not_measured_is_null(record: RunRecord) -> None:
    bare = tuple(replace(device, received=(), local=()) for device in record.devices)
    stopped = replace(record, devices=bare, rounds=(), closing=None, rejected={})
    summary = decoded(stopped)
    assert summary["rounds_completed"] == 0
    assert summary["accuracy"]["local"]["mean"] is None
    assert summary["accuracy"]["local"]["std"] is None
    assert summary["updates"] == {"accepted": 0, "rejected": {}}


def test_an_iid_split_has_no_alpha(record: RunRecord) -> None:
    iid = replace(record, settings=replace(record.settings, alpha=None, attack=None))
    assert decoded(iid)["alpha"] is None
    assert decoded(iid)["attack"] is None


def test_names_that_are_no_text_survive(record: RunRecord) -> None:
    odd = replace(record.settings, dataset='npz:/tmp/\udcff\u00e9"')
    assert decoded(replace(record, settings=odd))["dataset"] == 'npz:/tmp/\udcff\u00e9"'
