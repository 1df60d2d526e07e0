import logging

import numpy as np
import pytest

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.label_mix import LabelMix, shared_label_mix
from pfedfrz_protocol import MAX_CLASSES_TOLD, InputSpec, LossKind, LossSpec


def local(*labels: int) -> LocalData:
    y = np.asarray(labels, np.int64)
    return LocalData(LabelledData(np.zeros((len(y), 2), np.float32), y), None, 4)


def test_every_class_is_counted_also_those_that_are_not_there() -> None:
    assert LabelMix(4).of(local(2, 0, 2)) == (1, 0, 2, 0)


def test_nothing_is_told_without_samples_or_where_it_is_not_shared() -> None:
    assert LabelMix(4).of(local()) == ()
    assert LabelMix().of(local(2, 0, 2)) == ()


def test_it_is_told_only_where_the_owner_says_so(caplog: pytest.LogCaptureFixture) -> None:
    spec = InputSpec((2,), 4)
    assert shared_label_mix(True, spec, LossSpec()) == LabelMix(4)
    assert shared_label_mix(False, spec, LossSpec()) == LabelMix()
    assert not caplog.records


@pytest.mark.parametrize("kind", [LossKind.MEAN_SQUARED_ERROR, LossKind.BINARY_CROSS_ENTROPY])
def test_labels_that_are_no_classes_are_not_told_and_that_is_said_once(
    kind: LossKind, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert shared_label_mix(True, InputSpec((2,), 4), LossSpec(kind)) == LabelMix()
    (record,) = caplog.records
    assert "no classes" in record.message
    assert kind.value in record.message


def test_more_classes_than_a_message_takes_are_not_told_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    most = InputSpec((2,), MAX_CLASSES_TOLD)
    assert shared_label_mix(True, most, LossSpec()) == LabelMix(MAX_CLASSES_TOLD)
    with caplog.at_level(logging.WARNING):
        above = InputSpec((2,), MAX_CLASSES_TOLD + 1)
        assert shared_label_mix(True, above, LossSpec()) == LabelMix()
    (record,) = caplog.records
    assert "1001 classes, and at most 1000" in record.message
