"""Local training with the real runtime, against plain torch and against its own promises."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pfedfrz_edge.batches import epoch_order
from pfedfrz_edge.data import LocalData
from pfedfrz_edge.evaluation import personalized_accuracy
from pfedfrz_edge.local_training import (
    LocalTraining,
    LocalUpdate,
    TrainingCancelled,
    TrainingDiverged,
)
from pfedfrz_edge.runtimes import Runtime, StepResult, load_runtime
from pfedfrz_models import build_model
from pfedfrz_protocol import (
    Bundle,
    Group,
    Hyperparameters,
    Parameters,
    Phase,
    PhaseProgress,
    Purpose,
    Schedule,
    TrainableSet,
)

MlpBundle = Callable[[str, Hyperparameters], Bundle]

DEVICE, SEED, ROUND = "device-3", 11, 5
PLAIN = Hyperparameters(epochs=2, batch_size=16, learning_rate=0.05)
EVERYTHING = Hyperparameters(
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=0.01,
    clip_norm=0.5,
    proximal=0.2,
)


class Watching:
    """The real runtime, with every call written down."""

    def __init__(self, runtime: Runtime) -> None:
        self.name = runtime.name
        self._runtime = runtime
        self.seen: list[tuple[TrainableSet, dict[str, bytes]]] = []
        self.rows: list[int] = []

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        self.seen.append((trainable, bits(parameters)))
        self.rows.append(len(x))
        return self._runtime.gradients(trainable, parameters, x, y, weight)

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return self._runtime.predict(parameters, x)


def bits(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in weights.items()}


def only(names: Mapping[str, object], seen: dict[str, bytes]) -> dict[str, bytes]:
    return {name: seen[name] for name in names}


def received(bundle: Bundle) -> Parameters:
    """Shared weights that are not the initial ones, read-only."""
    return _shifted(bundle.initial_weights(Group.SHARED), 21)


def personal(bundle: Bundle) -> Parameters:
    return _shifted(bundle.initial_weights(Group.PERSONAL), 22)


def _shifted(weights: Parameters, seed: int) -> Parameters:
    random = np.random.default_rng(seed)
    moved = {
        name: w + random.normal(scale=0.02, size=w.shape).astype(np.float32)
        for name, w in weights.items()
    }
    for array in moved.values():
        array.flags.writeable = False
    return moved


def training(bundle: Bundle, data: LocalData, runtime: Runtime | None = None) -> LocalTraining:
    runtime = runtime or load_runtime("onnxruntime", bundle)
    return LocalTraining(runtime, bundle.manifest, data, DEVICE, SEED)


def run(
    bundle: Bundle,
    data: LocalData,
    runtime: Runtime | None = None,
    purpose: Purpose = Purpose.TRAIN,
) -> LocalUpdate:
    mine = training(bundle, data, runtime)
    return mine.run(ROUND, purpose, received(bundle), personal(bundle))


def plain_torch(bundle: Bundle, data: LocalData) -> Parameters:
    """The weights after the bundle's schedule, by torch alone: model, autograd and optimizer.

    A fresh torch.optim.SGD for every phase; what the phase does not train needs no gradient.
    """
    module = build_model("mlp", 10, seed=0).module
    start = {**received(bundle), **personal(bundle)}
    module.load_state_dict({n: torch.from_numpy(w.copy()) for n, w in start.items()})
    groups = {row.name: row.group for row in bundle.manifest.parameters}
    x, y = torch.from_numpy(data.train.x), torch.from_numpy(data.train.y)
    for index, phase in enumerate(bundle.manifest.schedule.phases):
        trained = {}
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(groups[name] in phase.trainable.groups)
            if parameter.requires_grad:
                trained[name] = parameter
        optimizer = torch.optim.SGD(
            trained.values(),
            lr=phase.learning_rate,
            momentum=phase.momentum,
            weight_decay=phase.weight_decay,
        )
        for epoch in range(phase.epochs):
            order = epoch_order(SEED, DEVICE, ROUND, str(index), epoch, len(y))
            for first in range(0, len(y), phase.batch_size):
                rows = torch.from_numpy(order[first : first + phase.batch_size])
                optimizer.zero_grad()
                functional.cross_entropy(module(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
                for name, parameter in trained.items():
                    if groups[name] is Group.SHARED and phase.proximal:
                        assert parameter.grad is not None
                        pull = parameter.detach() - torch.from_numpy(start[name].copy())
                        parameter.grad += phase.proximal * pull
                if phase.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(trained.values(), phase.clip_norm)
                optimizer.step()
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("hyper", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("method", ["pfedfrz", "fedsim", "fedalt", "fedavg", "local"])
def test_the_weights_are_those_of_a_plain_torch_loop(
    mlp_bundle: MlpBundle, mlp_data: LocalData, method: str, hyper: Hyperparameters
) -> None:
    bundle = mlp_bundle(method, hyper)
    update = run(bundle, mlp_data)
    expected = plain_torch(bundle, mlp_data)
    found = {**update.shared, **update.personal}
    assert set(found) == set(expected)
    assert set(update.shared) == {s.name for s in bundle.manifest.layout(Group.SHARED)}
    start = {**received(bundle), **personal(bundle)}
    for name, weight in found.items():
        assert weight.dtype == np.float32
        np.testing.assert_allclose(weight, expected[name], rtol=0, atol=1e-5)
        assert np.abs(weight - start[name]).max() > 1e-3


def test_after_the_frozen_phase_every_shared_weight_is_the_same_bits(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("pfedfrz", EVERYTHING)
    watching = Watching(load_runtime("onnxruntime", bundle))
    update = run(bundle, mlp_data, watching)
    frozen = [seen for kind, seen in watching.seen if kind is TrainableSet.PERSONAL]
    joint = [seen for kind, seen in watching.seen if kind is TrainableSet.ALL]
    assert (len(frozen), len(joint)) == (8, 8)
    start = bits(received(bundle))
    # The first joint step is handed what the whole frozen phase has left.
    for seen in (*frozen, joint[0]):
        assert only(start, seen) == start
    for name in update.personal:
        assert frozen[0][name] != joint[0][name]
    for name in start:
        assert joint[1][name] != start[name]


def test_in_the_second_phase_of_fedalt_every_personal_weight_is_the_same_bits(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("fedalt", EVERYTHING)
    watching = Watching(load_runtime("onnxruntime", bundle))
    update = run(bundle, mlp_data, watching)
    second = [seen for kind, seen in watching.seen if kind is TrainableSet.SHARED]
    kept = only(update.personal, second[0])
    assert all(only(kept, seen) == kept for seen in second)
    assert bits(update.personal) == kept
    assert bits(update.shared) != only(update.shared, second[0])


def test_a_runtime_that_hands_out_gradients_of_frozen_weights_is_an_error_not_a_moved_weight(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("pfedfrz", EVERYTHING)
    real = load_runtime("onnxruntime", bundle)

    class Leaking(Watching):
        def gradients(
            self,
            trainable: TrainableSet,
            parameters: Mapping[str, NDArray[np.float32]],
            x: NDArray[np.float32],
            y: NDArray[np.int64],
            weight: NDArray[np.float32],
        ) -> StepResult:
            return self._runtime.gradients(TrainableSet.ALL, parameters, x, y, weight)

    with pytest.raises(ValueError, match="read-only"):
        run(bundle, mlp_data, Leaking(real))


def test_nothing_that_it_is_given_is_changed_and_nothing_of_it_is_handed_back(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("pfedfrz", EVERYTHING)
    given = {**received(bundle), **personal(bundle)}
    before = bits(given)
    samples = (mlp_data.train.x.tobytes(), mlp_data.train.y.tobytes())
    shared = {spec.name: given[spec.name] for spec in bundle.manifest.layout(Group.SHARED)}
    own = {name: given[name] for name in given if name not in shared}
    update = training(bundle, mlp_data).run(ROUND, Purpose.TRAIN, shared, own)
    assert bits(given) == before
    assert (mlp_data.train.x.tobytes(), mlp_data.train.y.tobytes()) == samples
    for name, weight in {**update.shared, **update.personal}.items():
        assert not np.shares_memory(weight, given[name])


def test_every_epoch_sees_every_sample_once(mlp_bundle: MlpBundle, mlp_data: LocalData) -> None:
    bundle = mlp_bundle("pfedfrz", EVERYTHING)
    watching = Watching(load_runtime("onnxruntime", bundle))
    run(bundle, mlp_data, watching)
    assert watching.rows == [16, 16, 16, 2] * 4


def test_the_same_round_twice_is_the_same_bits_and_another_round_is_not(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("pfedfrz", PLAIN)
    first, second = run(bundle, mlp_data), run(bundle, mlp_data)
    assert bits(first.shared) == bits(second.shared)
    assert bits(first.personal) == bits(second.personal)
    other = training(bundle, mlp_data)
    next_round = other.run(ROUND + 1, Purpose.TRAIN, received(bundle), personal(bundle))
    assert bits(next_round.shared) != bits(first.shared)


def test_the_report_measures_before_and_after(mlp_bundle: MlpBundle, mlp_data: LocalData) -> None:
    bundle = mlp_bundle("pfedfrz", PLAIN)
    runtime = load_runtime("onnxruntime", bundle)
    update = run(bundle, mlp_data, runtime)
    assert mlp_data.test is not None
    measured = [
        personalized_accuracy(runtime, weights, mlp_data.test, mlp_data.label_shares)
        for weights in (
            {**received(bundle), **personal(bundle)},
            {**update.shared, **update.personal},
        )
    ]
    report = update.report
    assert [report.received, report.local] == measured
    assert measured[0] is not None
    assert measured[1] is not None
    assert measured[1] > measured[0] + 0.2
    assert report.samples == 50
    assert report.train_s > 0
    assert report.evaluate_s > 0


def test_the_loss_is_the_mean_over_the_samples_of_the_last_epoch(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    # At a learning rate of next to nothing every batch sees the same weights.
    hyper = Hyperparameters(batch_size=16, learning_rate=1e-9)
    bundle = mlp_bundle("pfedfrz", hyper)
    runtime = load_runtime("onnxruntime", bundle)
    logits = runtime.predict({**received(bundle), **personal(bundle)}, mlp_data.train.x)
    expected = functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(mlp_data.train.y)
    )
    assert run(bundle, mlp_data, runtime).report.loss == pytest.approx(float(expected), rel=1e-5)


def test_without_a_test_set_it_trains_the_same_and_measures_nothing(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("pfedfrz", PLAIN)
    update = run(bundle, LocalData(mlp_data.train, None, mlp_data.classes))
    assert (update.report.received, update.report.local) == (None, None)
    assert bits(update.shared) == bits(run(bundle, mlp_data).shared)


def test_progress_is_told_after_every_epoch(mlp_bundle: MlpBundle, mlp_data: LocalData) -> None:
    mine = training(bundle := mlp_bundle("pfedfrz", PLAIN), mlp_data)
    told: list[PhaseProgress] = []
    mine.on_progress = told.append
    update = mine.run(ROUND, Purpose.TRAIN, received(bundle), personal(bundle))
    steps = [(p.round, p.phase, p.phases, p.trainable, p.epoch, p.epochs) for p in told]
    frozen, joint = TrainableSet.PERSONAL, TrainableSet.ALL
    assert steps == [
        (ROUND, 0, 2, frozen, 0, 2),
        (ROUND, 0, 2, frozen, 1, 2),
        (ROUND, 1, 2, joint, 0, 2),
        (ROUND, 1, 2, joint, 1, 2),
    ]
    losses = [p.loss for p in told if p.loss is not None]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == update.report.loss


@pytest.mark.parametrize(
    ("method", "phases"),
    [("pfedfrz", [0, 1]), ("fedalt", [0]), ("local", [0]), ("fedbabu", [])],
)
def test_the_personal_weights_are_handed_out_after_every_phase_that_moved_them(
    mlp_bundle: MlpBundle, mlp_data: LocalData, method: str, phases: list[int]
) -> None:
    bundle = mlp_bundle(method, EVERYTHING)
    watching = Watching(load_runtime("onnxruntime", bundle))
    mine = training(bundle, mlp_data, watching)
    handed: list[tuple[int, int, dict[str, bytes]]] = []
    mine.on_phase_end = lambda phase, own: handed.append((phase, len(watching.seen), bits(own)))
    update = mine.run(ROUND, Purpose.TRAIN, received(bundle), personal(bundle))
    assert [phase for phase, _, _ in handed] == phases
    for phase, steps, own in handed:
        assert steps == 8 * (phase + 1)
        assert own.keys() == update.personal.keys()
        if steps < len(watching.seen):
            assert own == only(own, watching.seen[steps][1])
    if handed:
        assert handed[-1][2] == bits(update.personal)


EXPLODING: dict[str, dict[str, Any]] = {
    "by gradients": {"learning_rate": 9e5, "momentum": 0.9},
    "by decay": {"learning_rate": 9e5, "weight_decay": 1e5},
    "under a clip": {"learning_rate": 9e5, "weight_decay": 1e5, "clip_norm": 1.0},
}


@pytest.mark.parametrize("phase", [0, 1])
@pytest.mark.parametrize("how", EXPLODING)
def test_divergence_is_said_and_the_weights_from_before_stay(
    mlp_bundle: MlpBundle, mlp_data: LocalData, how: str, phase: int
) -> None:
    sane = mlp_bundle("pfedfrz", PLAIN)
    phases = list(sane.manifest.schedule.phases)
    phases[phase] = Phase(phases[phase].trainable, epochs=20, batch_size=16, **EXPLODING[how])
    schedule = Schedule("exploding", tuple(phases))
    bundle = Bundle(msgspec.structs.replace(sane.manifest, schedule=schedule), sane.files)
    mine = training(bundle, mlp_data)
    handed: list[int] = []
    mine.on_phase_end = lambda index, _: handed.append(index)
    own, base = personal(bundle), received(bundle)
    before = bits({**own, **base})
    with pytest.raises(TrainingDiverged, match=f"phase {phase + 1} of round 5 diverged; lower"):
        mine.run(ROUND, Purpose.TRAIN, base, own)
    assert handed == list(range(phase))
    assert bits({**own, **base}) == before


@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 15])
def test_cancelled_it_ends_at_the_next_batch(
    mlp_bundle: MlpBundle, mlp_data: LocalData, steps: int
) -> None:
    bundle = mlp_bundle("pfedfrz", PLAIN)
    watching = Watching(load_runtime("onnxruntime", bundle))
    mine = training(bundle, mlp_data, watching)
    mine.cancelled = lambda: len(watching.seen) >= steps
    handed: list[int] = []
    mine.on_phase_end = lambda phase, _: handed.append(phase)
    with pytest.raises(TrainingCancelled):
        mine.run(ROUND, Purpose.TRAIN, received(bundle), personal(bundle))
    assert len(watching.seen) == steps
    assert handed == ([0] if steps >= 8 else [])


@pytest.mark.parametrize(
    ("method", "trains"), [("pfedfrz", 0), ("fedavg", 0), ("fedbabu", 8), ("fedavg-finetune", 8)]
)
def test_an_evaluation_keeps_nothing(
    mlp_bundle: MlpBundle, mlp_data: LocalData, method: str, trains: int
) -> None:
    bundle = mlp_bundle(method, EVERYTHING)
    watching = Watching(load_runtime("onnxruntime", bundle))
    mine = training(bundle, mlp_data, watching)
    mine.on_phase_end = lambda phase, _: pytest.fail(f"phase {phase} was handed out to be kept")
    own, base = personal(bundle), received(bundle)
    before = bits({**own, **base})
    report = mine.run(ROUND, Purpose.EVALUATE, base, own).report
    assert bits({**own, **base}) == before
    assert len(watching.seen) == trains
    assert report.received is not None
    assert (report.local is not None, report.loss is not None) == (trains > 0, trains > 0)
    if report.local is not None:
        assert report.local > report.received


def test_what_an_evaluation_trains_starts_from_the_received_model_and_not_from_training(
    mlp_bundle: MlpBundle, mlp_data: LocalData
) -> None:
    bundle = mlp_bundle("fedbabu", PLAIN)
    mine = training(bundle, mlp_data)
    own, base = personal(bundle), received(bundle)
    first = mine.run(ROUND, Purpose.EVALUATE, base, own)
    mine.run(ROUND, Purpose.TRAIN, base, own)
    again = mine.run(ROUND, Purpose.EVALUATE, base, own)
    assert bits(again.personal) == bits(first.personal)
    assert bits(again.shared) == bits(base)
