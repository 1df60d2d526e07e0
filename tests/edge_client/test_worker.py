import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from identities import key_of
from numpy.typing import NDArray

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_edge.model_store import ModelStore
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_edge.runtimes import Runtime, StepResult
from pfedfrz_edge.session_exchange import (
    EvaluationDone,
    StartWork,
    UpdateTrained,
    WorkBroken,
    WorkKey,
)
from pfedfrz_edge.worker import SamplesSeen, Tamper, Worker, WorkerContext
from pfedfrz_protocol import (
    Bundle,
    Encoding,
    Group,
    ModelReference,
    Parameters,
    PhaseProgress,
    Purpose,
    RoundAnnouncement,
    SharedCodec,
    TrainableSet,
    TransferReference,
    UpdateLabel,
    open_tensors,
    tensors_digest,
)

PATIENCE_S = 20.0
STEPS = 6  # two phases of one epoch: 40 samples in batches of 16


class Gated:
    """The real runtime; a hook is called before every step and every prediction."""

    def __init__(self, runtime: Runtime, hook: Callable[[str, int], None]) -> None:
        self.name = runtime.name
        self._runtime = runtime
        self._hook = hook
        self._calls = {"gradients": 0, "predict": 0}

    def _call(self, kind: str) -> None:
        self._calls[kind] += 1
        self._hook(kind, self._calls[kind])

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        self._call("gradients")
        return self._runtime.gradients(trainable, parameters, x, y, weight)

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        self._call("predict")
        return self._runtime.predict(parameters, x)


class Tampered:
    """Sends what a function makes of received and trained weights; trains as `train` says."""

    def __init__(
        self,
        change: Callable[[Parameters, Parameters], Parameters],
        train: Callable[[LocalTraining], LocalTraining] = lambda training: training,
    ) -> None:
        self._change = change
        self._train = train
        self.prepared: list[RoundAnnouncement] = []

    def prepare(self, announcement: RoundAnnouncement, training: LocalTraining) -> LocalTraining:
        self.prepared.append(announcement)
        return self._train(training)

    def upload(
        self,
        announcement: RoundAnnouncement,
        received: Parameters,
        trained: Parameters,
        cancelled: Callable[[], bool],
    ) -> Parameters:
        assert announcement == self.prepared[-1]
        assert not cancelled()
        return self._change(received, trained)


class Desk:
    """Everything that one worker needs, and what it posts."""

    def __init__(
        self, bundle: Bundle, runtime: Runtime, data: LocalData, directory: Path, **changes: object
    ) -> None:
        phases = tuple(
            msgspec.structs.replace(p, epochs=1) for p in bundle.manifest.schedule.phases
        )
        schedule = msgspec.structs.replace(bundle.manifest.schedule, phases=phases)
        manifest = msgspec.structs.replace(bundle.manifest, schedule=schedule)
        self.posted: queue.Queue[object] = queue.Queue()
        self.store = PersonalStore(directory, manifest.digest)
        self.received = bundle.initial_weights(Group.SHARED)
        self.codec = SharedCodec.for_manifest(manifest)
        values: dict[str, object] = {
            "training": LocalTraining(runtime, manifest, data, "me", 4),
            "codec": self.codec,
            "store": self.store,
            "encoding": Encoding.DELTA_FLOAT16,
            "boot_id": "boot",
            "key": key_of("me"),
            "initial_personal": bundle.initial_weights(Group.PERSONAL),
            "post": self.posted.put,
            **changes,
        }
        self.context = WorkerContext(**values)  # type: ignore[arg-type]

    def start(self, number: int = 1, purpose: Purpose = Purpose.TRAIN) -> Worker:
        digest = tensors_digest(self.received)
        model = ModelReference(number - 1, digest, TransferReference(1, "0" * 64))
        announcement = RoundAnnouncement(number, 1, "0" * 64, purpose, model, ("me",), 9.0)
        work = StartWork(WorkKey(number, digest), announcement, self.received, 4321)
        worker = Worker(self.context, work)
        worker.start()
        return worker

    def finish(self, number: int = 1, purpose: Purpose = Purpose.TRAIN) -> object:
        """The one event of a piece of work that runs to its end."""
        worker = self.start(number, purpose)
        event = self.next_event()
        worker.join(PATIENCE_S)
        assert self.drained() == []
        return event

    def next_event(self) -> object:
        """The next thing posted that is not progress."""
        while isinstance(event := self.posted.get(timeout=PATIENCE_S), PhaseProgress):
            pass
        return event

    def drained(self) -> list[object]:
        found = []
        while not self.posted.empty():
            found.append(self.posted.get())
        return found

    def expected(self, number: int = 1) -> tuple[Parameters, Parameters]:
        """Personal and shared weights by local training alone."""
        training = self.context.training
        update = training.run(number, Purpose.TRAIN, self.received, self.context.personal())
        return update.personal, update.shared

    def decoded(self, event: object) -> tuple[Encoding, UpdateLabel, Parameters]:
        assert isinstance(event, UpdateTrained)
        header, tensors = self.codec.decode(
            open_tensors(event.update.payload).require_signer(key_of("me").public), self.received
        )
        assert isinstance(header.label, UpdateLabel)
        return header.encoding, header.label, tensors


MakeDesk = Callable[..., Desk]


@pytest.fixture
def desk(
    wide_bundle: Bundle, wide_runtime: Runtime, wide_data: LocalData, tmp_path: Path
) -> MakeDesk:
    def make(hook: Callable[[str, int], None] | None = None, **changes: object) -> Desk:
        runtime = Gated(wide_runtime, hook) if hook else wide_runtime
        return Desk(wide_bundle, runtime, wide_data, tmp_path / "state", **changes)

    return make


def assert_same(found: Parameters, expected: Parameters) -> None:
    assert set(found) == set(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)


def test_training_ends_in_one_event_with_the_encoded_update(desk: MakeDesk) -> None:
    mine = desk(encoding=Encoding.FLOAT32)
    personal, shared = mine.expected()
    event = mine.finish()
    encoding, label, tensors = mine.decoded(event)
    assert encoding is Encoding.FLOAT32
    digest = tensors_digest(mine.received)
    assert label == UpdateLabel("me", "boot", 1, 40, digest)
    assert_same(tensors, shared)
    assert isinstance(event, UpdateTrained)
    assert event.key == WorkKey(1, digest)
    assert (event.update.round, event.update.base) == (1, digest)
    assert event.update.report.downloaded_bytes == 4321
    stored = mine.store.load()
    assert stored is not None
    assert (stored.round, stored.phase) == (1, 1)
    assert_same(stored.weights, personal)


def test_progress_is_posted_before_the_end(desk: MakeDesk) -> None:
    mine = desk()
    worker = mine.start()
    worker.join(PATIENCE_S)
    kinds = [type(event) for event in mine.drained()]
    assert kinds == [PhaseProgress, PhaseProgress, UpdateTrained]


def test_a_difference_in_float16_is_the_update_within_its_precision(desk: MakeDesk) -> None:
    mine = desk()
    _, shared = mine.expected()
    encoding, _, tensors = mine.decoded(mine.finish())
    assert encoding is Encoding.DELTA_FLOAT16
    for name, weight in shared.items():
        step = np.abs(weight - mine.received[name]).max()
        np.testing.assert_allclose(tensors[name], weight, rtol=0, atol=step * 1e-3 + 1e-7)


def test_the_next_round_begins_with_the_stored_personal_weights(desk: MakeDesk) -> None:
    mine = desk()
    assert_same(mine.context.personal(), mine.context.initial_personal)
    mine.finish(1)
    personal, _ = mine.expected(2)
    mine.finish(2)
    stored = mine.store.load()
    assert stored is not None
    assert stored.round == 2
    assert_same(stored.weights, personal)


def test_a_round_that_is_begun_again_reports_what_it_received_at_first(desk: MakeDesk) -> None:
    before = desk().context.initial_personal

    def fail(kind: str, call: int) -> None:
        if (kind, call) == ("gradients", STEPS):  # the personal weights have been trained and kept
            raise RuntimeError("broken")

    broken = desk(fail)
    assert isinstance(broken.finish(1), WorkBroken)
    stored = broken.store.load()
    assert stored is not None
    assert not np.array_equal(stored.weights["front.weight"], before["front.weight"])
    again = desk()
    event = again.finish(1)
    assert isinstance(event, UpdateTrained)
    assert event.update.report.received == stored.received
    # Another round, or another model, is measured anew, and so is an evaluation.
    store = again.store
    store.save(StoredPersonal(stored.weights, 1, 0, stored.base, 0.125))
    evaluated = again.finish(1, Purpose.EVALUATE)
    assert isinstance(evaluated, EvaluationDone)
    assert evaluated.report.received != 0.125
    store.save(StoredPersonal(stored.weights, 1, 0, "f" * 64, 0.125))
    event = again.finish(1)
    assert isinstance(event, UpdateTrained)
    assert event.update.report.received != 0.125
    store.save(StoredPersonal(stored.weights, 1, 0, stored.base, 0.125))
    event = again.finish(2)
    assert isinstance(event, UpdateTrained)
    assert event.update.report.received != 0.125


def test_cancelled_in_an_evaluation_it_ends_at_the_next_batch(
    desk: MakeDesk, wide_bundle: Bundle, wide_runtime: Runtime, wide_data: LocalData
) -> None:
    assert wide_data.test is not None
    many = LabelledData(np.tile(wide_data.test.x, (60, 1)), np.tile(wide_data.test.y, 60))
    reached, go_on, calls = threading.Event(), threading.Event(), list[int]()

    def wait(kind: str, call: int) -> None:
        calls.append(call)
        reached.set()
        assert go_on.wait(PATIENCE_S)

    runtime = Gated(wide_runtime, wait)
    data = LocalData(wide_data.train, many, 3)
    training = LocalTraining(runtime, wide_bundle.manifest, data, "me", 4)
    mine = desk(training=training)
    worker = mine.start(1, Purpose.EVALUATE)
    assert reached.wait(PATIENCE_S)
    worker.cancel()
    go_on.set()
    worker.join(PATIENCE_S)
    assert calls == [1]  # of eight
    assert mine.drained() == []


@pytest.mark.parametrize("fate", ["done", "broken", "cancelled"])
def test_the_very_last_thing_it_does_is_to_say_that_it_has_ended(desk: MakeDesk, fate: str) -> None:
    def fail(kind: str, call: int) -> None:
        if fate == "broken":
            raise RuntimeError("broken")

    mine = desk(fail)
    digest = tensors_digest(mine.received)
    model = ModelReference(0, digest, TransferReference(1, "0" * 64))
    announcement = RoundAnnouncement(1, 1, "0" * 64, Purpose.EVALUATE, model, ("me",), 9.0)
    work = StartWork(WorkKey(1, digest), announcement, mine.received, 0)
    worker = Worker(mine.context, work, lambda: mine.posted.put("ended"))
    if fate == "cancelled":
        worker.cancel()
    worker.start()
    worker.join(PATIENCE_S)
    *others, last = mine.drained()
    assert last == "ended"
    kinds = {"done": [EvaluationDone], "broken": [WorkBroken], "cancelled": []}
    assert [type(event) for event in others] == kinds[fate]


def test_an_evaluation_ends_in_one_report_and_writes_nothing(
    desk: MakeDesk, tmp_path: Path
) -> None:
    mine = desk()
    event = mine.finish(1, Purpose.EVALUATE)
    assert isinstance(event, EvaluationDone)
    assert event.report.received is not None
    assert event.report.downloaded_bytes == 4321
    assert list((tmp_path / "state").iterdir()) == []


def test_tampering_changes_what_is_sent_and_nothing_that_is_kept(desk: MakeDesk) -> None:
    given: list[tuple[Parameters, Parameters]] = []

    def negate(received: Parameters, trained: Parameters) -> Parameters:
        given.append((received, trained))
        return {name: 2 * received[name] - trained[name] for name in trained}

    mine = desk(encoding=Encoding.FLOAT32, tamper=Tampered(negate))
    personal, shared = mine.expected()
    assert given == []
    _, _, tensors = mine.decoded(mine.finish())
    assert_same(given[0][0], mine.received)
    assert_same(given[0][1], shared)
    assert_same(tensors, negate(mine.received, shared))
    stored = mine.store.load()
    assert stored is not None
    assert_same(stored.weights, personal)


def test_an_attacker_trains_on_what_it_prepared(desk: MakeDesk) -> None:
    def mislabel(training: LocalTraining) -> LocalTraining:
        train = training.data.train
        poisoned = LabelledData(train.x, training.data.classes - 1 - train.y)
        return replace(training, data=replace(training.data, train=poisoned))

    tamper: Tamper = Tampered(lambda _received, trained: trained, mislabel)
    mine = desk(encoding=Encoding.FLOAT32, tamper=tamper)
    training = mine.context.training
    _, honest = mine.expected()
    poisoned = desk(training=mislabel(training)).expected()[1]
    _, _, sent = mine.decoded(mine.finish())
    assert_same(sent, poisoned)
    assert any((sent[name] != honest[name]).any() for name in honest)


def test_an_evaluation_is_never_tampered_with(desk: MakeDesk) -> None:
    tamper = Tampered(lambda _received, _trained: {})
    assert isinstance(desk(tamper=tamper).finish(1, Purpose.EVALUATE), EvaluationDone)
    assert tamper.prepared == []


def test_a_step_beyond_float16_is_sent_as_float32_and_said(
    desk: MakeDesk, caplog: pytest.LogCaptureFixture
) -> None:
    def leap(_: Parameters, trained: Parameters) -> Parameters:
        return {name: tensor + np.float32(1e6) for name, tensor in trained.items()}

    mine = desk(tamper=Tampered(leap))
    _, shared = mine.expected()
    with caplog.at_level(logging.WARNING):
        encoding, _, tensors = mine.decoded(mine.finish())
    assert encoding is Encoding.FLOAT32
    assert_same(tensors, leap({}, shared))
    assert "sent as float32" in caplog.text


@pytest.mark.parametrize(
    ("error", "says"),
    [(RuntimeError("no such kernel"), "RuntimeError: no such kernel"), (MemoryError(), "Memory")],
)
def test_work_that_breaks_ends_in_one_event_and_keeps_the_weights_from_before(
    desk: MakeDesk, error: Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(kind: str, call: int) -> None:
        if (kind, call) == ("gradients", 2):
            raise error

    mine = desk(fail)
    before = StoredPersonal(mine.context.initial_personal, 7, 1)
    mine.store.save(before)
    event = mine.finish(8)
    assert isinstance(event, WorkBroken)
    assert event.key.round == 8
    assert says in event.detail
    assert "the work of round 8 broke" in caplog.text
    stored = mine.store.load()
    assert stored is not None
    assert stored.round == 7


def test_a_tampering_hook_that_breaks_is_told(desk: MakeDesk) -> None:
    event = desk(tamper=Tampered(lambda _received, _trained: {})).finish()
    assert isinstance(event, WorkBroken)
    assert "wrong-tensors" in event.detail


def test_a_disk_that_does_not_take_the_weights_is_told(desk: MakeDesk, tmp_path: Path) -> None:
    mine = desk(lambda kind, _: shutil.rmtree(tmp_path / "state", ignore_errors=True))
    event = mine.finish()
    assert isinstance(event, WorkBroken)
    assert "cannot write" in event.detail


@pytest.mark.parametrize(
    ("kind", "call", "written"),
    [
        ("predict", 1, False),
        ("gradients", 1, False),
        ("gradients", STEPS // 2, False),  # the last step of the frozen phase
        ("gradients", STEPS // 2 + 1, True),
        ("gradients", STEPS, True),
        ("predict", 2, True),  # everything is trained; only the measuring is left
    ],
)
@pytest.mark.parametrize("breaks", [False, True], ids=["goes on", "breaks"])
def test_cancelled_it_posts_nothing_and_writes_nothing_more(
    desk: MakeDesk, tmp_path: Path, kind: str, call: int, written: bool, breaks: bool
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(at: str, number: int) -> None:
        if (at, number) == (kind, call):
            reached.set()
            assert go_on.wait(PATIENCE_S)
            if breaks:
                raise RuntimeError("broken while nobody waits for it any more")

    mine = desk(wait)
    worker = mine.start()
    assert reached.wait(PATIENCE_S)
    files = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert bool(files) is written
    mine.drained()
    worker.cancel()
    go_on.set()
    worker.join(PATIENCE_S)
    assert mine.drained() == []
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == files


def test_cancelled_before_it_starts_it_does_nothing(desk: MakeDesk, tmp_path: Path) -> None:
    calls: list[str] = []
    mine = desk(lambda kind, _: calls.append(kind))
    digest = tensors_digest(mine.received)
    model = ModelReference(0, digest, TransferReference(1, "0" * 64))
    announcement = RoundAnnouncement(1, 1, "0" * 64, Purpose.TRAIN, model, ("me",), 9.0)
    worker = Worker(mine.context, StartWork(WorkKey(1, digest), announcement, mine.received, 0))
    worker.cancel()
    worker.start()
    worker.join(PATIENCE_S)
    assert mine.drained() == []
    assert "gradients" not in calls
    assert list((tmp_path / "state").iterdir()) == []


class Growing:
    """A feed that a test fills."""

    def __init__(self, data: LocalData) -> None:
        self.whole = data
        self.samples = 0
        self.looks = 0

    def latest(self) -> LocalData:
        self.looks += 1
        train = LabelledData(self.whole.train.x[: self.samples], self.whole.train.y[: self.samples])
        return LocalData(train, self.whole.test, self.whole.classes)


def test_every_piece_of_work_is_on_what_the_device_has_then(
    desk: MakeDesk, wide_data: LocalData
) -> None:
    feed = Growing(wide_data)
    mine = desk(encoding=Encoding.FLOAT32)
    mine.context = replace(mine.context, data=feed)
    for number, samples in ((1, 12), (2, 30)):
        feed.samples = samples
        stored = mine.context.personal()
        mine.start(number)
        assert mine.next_event() == SamplesSeen(samples)
        event = mine.next_event()
        assert isinstance(event, UpdateTrained)
        _, label, shared = mine.decoded(event)
        alone = LocalTraining(
            mine.context.training.runtime, mine.context.training.manifest, feed.latest(), "me", 4
        ).run(number, Purpose.TRAIN, mine.received, stored)
        assert (label.samples, event.update.report.samples) == (samples, samples)
        assert event.update.report.local == alone.report.local  # by the label shares of now
        assert_same(shared, alone.shared)


@pytest.mark.parametrize("purpose", Purpose)
def test_without_samples_the_round_fails_by_name(
    desk: MakeDesk, wide_data: LocalData, purpose: Purpose
) -> None:
    mine = desk()
    mine.context = replace(mine.context, data=Growing(wide_data))
    mine.start(purpose=purpose)
    assert mine.next_event() == SamplesSeen(0)
    event = mine.next_event()
    assert isinstance(event, WorkBroken)
    assert event.detail == "no samples yet"
    assert mine.store.load() is None


# Pauses


def test_a_paused_worker_takes_no_step_and_the_pause_is_not_training(desk: MakeDesk) -> None:
    reached, may_go_on = threading.Event(), threading.Event()

    def hook(kind: str, call: int) -> None:
        if (kind, call) == ("gradients", 2):
            reached.set()
            may_go_on.wait(PATIENCE_S)

    made = desk(hook)
    began_s = time.monotonic()
    worker = made.start()
    assert reached.wait(PATIENCE_S)
    worker.pause()
    may_go_on.set()
    worker.join(0.3)
    assert not any(isinstance(event, UpdateTrained) for event in made.drained())
    worker.resume()
    event = made.next_event()
    assert isinstance(event, UpdateTrained)
    report = event.update.report
    assert report.train_s + report.evaluate_s < time.monotonic() - began_s - 0.25
    _, _, tensors = made.decoded(event)
    undisturbed = desk(encoding=Encoding.DELTA_FLOAT16)
    shutil.rmtree(undisturbed.store._directory)
    undisturbed = desk(encoding=Encoding.DELTA_FLOAT16)
    _, _, expected = undisturbed.decoded(undisturbed.finish())
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[name], tensor)


def test_a_paused_worker_is_called_off_and_stays_so(desk: MakeDesk) -> None:
    made = desk()
    worker = made.start()
    worker.pause()
    worker.cancel()
    worker.pause()
    worker.join(PATIENCE_S)
    assert not worker._thread.is_alive()
    assert not any(isinstance(event, UpdateTrained) for event in made.drained())


def test_a_model_that_cannot_be_kept_for_use_costs_no_round(
    desk: MakeDesk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = desk(models=ModelStore(tmp_path / "nowhere", "0" * 64))
    with caplog.at_level(logging.ERROR):
        assert isinstance(made.finish(), UpdateTrained)
    assert "the model of round 1 is not kept for use" in caplog.text
