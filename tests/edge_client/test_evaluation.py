from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.evaluation import Evaluation, evaluate, personalized_accuracy
from pfedfrz_edge.runtimes import Runtime, StepResult, load_runtime
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    LossKind,
    LossSpec,
    TrainableSet,
)

CLASSES = 5


class LogitsAreInputs:
    """A runtime whose answers the test chooses: x is what it predicts."""

    name = "logits-are-inputs"

    def __init__(self) -> None:
        self.rows: list[int] = []

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        raise AssertionError("an evaluation trains nothing")

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        self.rows.append(len(x))
        return x


def shares(*counts: int) -> NDArray[np.float64]:
    return np.array(counts) / sum(counts)


def answers(labels: list[int], predicted: list[int]) -> LabelledData:
    x = np.zeros((len(labels), CLASSES), np.float32)
    x[np.arange(len(labels)), predicted] = 1
    return LabelledData(x, np.array(labels, np.int64))


def slowly(test: LabelledData, q: NDArray[np.float64], predicted: list[int]) -> float | None:
    """A_i = sum_k q_k T_k / N_k, one sample at a time, over labels that both sides hold."""
    total = held = 0.0
    for label in range(CLASSES):
        mine = [p for y, p in zip(test.y, predicted, strict=True) if y == label]
        if q[label] > 0 and mine:
            total += q[label] * sum(p == label for p in mine) / len(mine)
            held += q[label]
    return total / held if held else None


labels = st.lists(st.integers(0, CLASSES - 1), max_size=60)


@settings(deadline=None)
@given(labels, st.lists(st.integers(0, 9), min_size=CLASSES, max_size=CLASSES), st.data())
def test_it_is_the_slow_loop(truth: list[int], counts: list[int], data: st.DataObject) -> None:
    q = np.array(counts) / max(1, sum(counts))
    predicted = data.draw(
        st.lists(st.integers(0, CLASSES - 1), min_size=len(truth), max_size=len(truth))
    )
    batch_size = data.draw(st.integers(1, 70))
    test = answers(truth, predicted)
    found = personalized_accuracy(LogitsAreInputs(), {}, test, q, batch_size=batch_size)
    expected = slowly(test, q, predicted)
    assert found == (None if expected is None else pytest.approx(expected))


def test_labels_that_the_device_does_not_hold_cannot_change_it_and_are_not_run() -> None:
    q = shares(3, 1, 0, 0, 0)
    right = answers([0, 0, 1, 2, 3, 4], [0, 1, 1, 2, 3, 4])
    wrong = answers([0, 0, 1, 2, 3, 4], [0, 1, 1, 0, 0, 0])
    runtime = LogitsAreInputs()
    assert personalized_accuracy(runtime, {}, right, q) == pytest.approx(0.75 * 0.5 + 0.25)
    assert personalized_accuracy(runtime, {}, wrong, q) == pytest.approx(0.75 * 0.5 + 0.25)
    assert runtime.rows == [3, 3]


def test_how_often_a_label_is_tested_does_not_change_its_share() -> None:
    q = shares(1, 1, 0, 0, 0)
    test = answers([0] * 90 + [1] * 10, [0] * 90 + [2] * 10)
    assert personalized_accuracy(LogitsAreInputs(), {}, test, q) == pytest.approx(0.5)


def test_labels_missing_from_the_test_set_are_left_out_and_the_rest_weighted_up() -> None:
    test = answers([0, 1], [0, 2])
    q = shares(1, 1, 8, 0, 0)
    assert personalized_accuracy(LogitsAreInputs(), {}, test, q) == pytest.approx(0.5)


@pytest.mark.parametrize("truth", [[], [3, 4]])
def test_without_a_common_label_nothing_is_measured(truth: list[int]) -> None:
    runtime = LogitsAreInputs()
    assert personalized_accuracy(runtime, {}, answers(truth, truth), shares(1, 1, 1, 0, 0)) is None
    assert runtime.rows == []


def test_a_perfect_device_has_no_accuracy_above_one() -> None:
    # For these counts the plain formula gives 1 + 2**-52, which a report may not say.
    truth = [label for label, n in enumerate([12, 13, 13, 15, 13]) for _ in range(n)]
    q = shares(8, 10, 10, 4, 9)
    assert personalized_accuracy(LogitsAreInputs(), {}, answers(truth, truth), q) == 1.0


def test_it_can_be_ended_before_any_batch() -> None:
    runtime = LogitsAreInputs()

    def end() -> None:
        if len(runtime.rows) == 2:
            raise RuntimeError("enough")

    test = answers([0] * 100, [0] * 100)
    with pytest.raises(RuntimeError, match="enough"):
        personalized_accuracy(
            runtime, {}, test, shares(1, 0, 0, 0, 0), batch_size=30, before_batch=end
        )
    assert runtime.rows == [30, 30]


def test_memory_is_bounded_by_batches() -> None:
    runtime = LogitsAreInputs()
    personalized_accuracy(
        runtime, {}, answers([0] * 100, [0] * 100), shares(1, 0, 0, 0, 0), batch_size=30
    )
    assert runtime.rows == [30, 30, 30, 10]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_with_a_real_model_it_counts_the_models_own_predictions(
    mlp_bundle: Callable[[str, Hyperparameters], Bundle], mlp_data: LocalData, seed: int
) -> None:
    bundle = mlp_bundle("pfedfrz", Hyperparameters())
    runtime: Runtime = load_runtime("onnxruntime", bundle)
    random = np.random.default_rng(seed)
    parameters = {
        spec.name: random.normal(scale=0.1, size=spec.shape).astype(np.float32)
        for group in Group
        for spec in bundle.manifest.layout(group)
    }
    test, q = mlp_data.test, mlp_data.label_shares
    assert test is not None
    hits = np.zeros(10)
    for x, y in zip(test.x, test.y, strict=True):
        hits[y] += runtime.predict(parameters, x[None]).argmax() == y
    expected = sum(q[k] * hits[k] / (test.y == k).sum() for k in range(10) if q[k])
    found = personalized_accuracy(runtime, parameters, test, q, batch_size=7)
    assert found == pytest.approx(expected)


def by_outputs(samples: int) -> LocalData:
    random = np.random.default_rng(1)
    x = random.standard_normal((samples, CLASSES), np.float32)
    y = (random.random((samples, CLASSES)) < 0.4).astype(np.float32)
    return LocalData(LabelledData(x, y), LabelledData(x, y), CLASSES)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_numbers_have_a_loss_and_no_accuracy(batch_size: int) -> None:
    data, loss = by_outputs(23), LossSpec(LossKind.MEAN_SQUARED_ERROR)
    found = evaluate(LogitsAreInputs(), {}, data, loss, batch_size=batch_size)
    assert data.test is not None
    assert found.accuracy is None
    assert found.loss == pytest.approx(float(((data.test.x - data.test.y) ** 2).mean()), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_yes_and_no_have_a_loss_and_the_share_of_right_answers(batch_size: int) -> None:
    data, loss = by_outputs(23), LossSpec(LossKind.BINARY_CROSS_ENTROPY)
    found = evaluate(LogitsAreInputs(), {}, data, loss, batch_size=batch_size)
    assert data.test is not None
    total = right = 0.0
    for z, y in zip(data.test.x.reshape(-1), data.test.y.reshape(-1), strict=True):
        chance = 1 / (1 + np.exp(-float(z)))
        total -= np.log(chance if y else 1 - chance)
        right += (z > 0) == (y == 1)
    assert found.loss == pytest.approx(total / data.test.y.size, rel=1e-6)
    assert found.accuracy == pytest.approx(right / data.test.y.size)


def test_outputs_far_from_zero_have_a_finite_loss() -> None:
    y = np.array([[1, 0]], np.float32)
    sample = LabelledData(np.array([[-1e4, 1e4]], np.float32), y)
    data = LocalData(sample, sample, 2)
    found = evaluate(LogitsAreInputs(), {}, data, LossSpec(LossKind.BINARY_CROSS_ENTROPY))
    assert found == Evaluation(0.0, 1e4)


@pytest.mark.parametrize("kind", LossKind)
def test_without_test_samples_nothing_is_measured(kind: LossKind) -> None:
    data = by_outputs(3)
    runtime = LogitsAreInputs()
    nothing = LocalData(data.train, None, CLASSES)
    assert evaluate(runtime, {}, nothing, LossSpec(kind)) == Evaluation(None, None)
    assert runtime.rows == []


def test_classes_have_the_personalized_accuracy() -> None:
    test = answers([0, 0, 1, 2], [0, 1, 1, 2])
    train = answers([0, 0, 0, 1], [0, 0, 0, 0])
    found = evaluate(LogitsAreInputs(), {}, LocalData(train, test, CLASSES), LossSpec())
    assert found == Evaluation(pytest.approx(0.75 * 0.5 + 0.25), None)
