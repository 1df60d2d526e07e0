"""What coarse encodings leave out, and how it is made up for."""

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import SHARED, make_bundle

from pfedfrz_edge.error_feedback import ErrorFeedback
from pfedfrz_protocol import Encoding, ModelLabel, Parameters, SharedCodec

MANIFEST = make_bundle().manifest
CODEC = SharedCodec.for_manifest(MANIFEST)
ZERO = {name: np.zeros(shape, np.float32) for name, shape in SHARED.items()}


def feedback(directory: Path) -> ErrorFeedback:
    return ErrorFeedback(directory, MANIFEST.digest, CODEC.layout)


def through_the_wire(step: Parameters) -> Parameters:
    payload = CODEC.encode(step, ModelLabel(0), Encoding.DELTA_INT8, ZERO)
    return CODEC.decode(payload, ZERO)[1]


def steps(rounds: int) -> list[Parameters]:
    """One large weight, and small ones that 8 bits beside it cannot tell from nothing."""
    random = np.random.default_rng(3)
    made = []
    for _ in range(rounds):
        step = {n: random.normal(0.001, 0.0005, s).astype(np.float32) for n, s in SHARED.items()}
        step["head.bias"][0] = 1.0
        made.append(step)
    return made


def error_of_the_sum(directory: Path | None, rounds: int) -> float:
    total, sent_total = dict(ZERO), dict(ZERO)
    for number, step in enumerate(steps(rounds)):
        wanted = feedback(directory).add_to(step) if directory else step
        sent = through_the_wire(wanted)
        if directory:
            feedback(directory).wait(number, wanted, sent)
            feedback(directory).accepted(number)
        total = {n: total[n] + step[n] for n in step}
        sent_total = {n: sent_total[n] + sent[n] for n in sent}
    return max(float(np.abs(total[n] - sent_total[n]).max()) for n in total)


def test_small_steps_are_not_lost_but_sent_when_they_have_added_up(tmp_path: Path) -> None:
    level = 1 / 127
    assert error_of_the_sum(None, 40) > 3 * level
    assert error_of_the_sum(tmp_path, 40) <= level


def test_the_remainder_of_an_update_that_is_not_accepted_is_not_used(tmp_path: Path) -> None:
    first = feedback(tmp_path)
    (step,) = steps(1)
    first.wait(1, step, ZERO)
    assert_same(feedback(tmp_path).add_to(ZERO), ZERO)
    feedback(tmp_path).accepted(1)
    assert_same(feedback(tmp_path).add_to(ZERO), step)
    first.wait(2, ZERO, step)
    assert_same(feedback(tmp_path).add_to(ZERO), step)


def test_a_remainder_is_spent_by_the_update_that_carried_it(tmp_path: Path) -> None:
    mine = feedback(tmp_path)
    (step,) = steps(1)
    mine.wait(1, step, ZERO)
    mine.accepted(1)
    mine.accepted(2)  # its remainder could not be kept
    assert_same(feedback(tmp_path).add_to(ZERO), ZERO)


def test_what_is_damaged_or_of_another_bundle_is_as_good_as_none(tmp_path: Path) -> None:
    mine = feedback(tmp_path)
    (step,) = steps(1)
    mine.wait(1, step, ZERO)
    mine.accepted(1)
    other = ErrorFeedback(tmp_path, "f" * 64, CODEC.layout)
    assert_same(other.add_to(ZERO), ZERO)
    (tmp_path / "error-feedback.safetensors").write_bytes(b"damaged")
    assert_same(mine.add_to(ZERO), ZERO)


def test_a_remainder_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    mine = feedback(tmp_path)
    mine.wait(1, {n: w * np.nan for n, w in ZERO.items()}, ZERO)
    mine.accepted(1)
    assert_same(mine.add_to(ZERO), ZERO)


def test_a_disk_that_refuses_costs_only_the_remainder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = ErrorFeedback(tmp_path / "missing", MANIFEST.digest, CODEC.layout)
    mine.wait(1, steps(1)[0], ZERO)
    assert "is not kept" in caplog.text


def assert_same(found: Parameters, expected: Parameters) -> None:
    for name, weights in expected.items():
        np.testing.assert_array_equal(found[name], weights)
