"""The round engine under any order of events: nothing raises, and its promises hold."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pfedfrz_coordinator.engine import RoundEngine, StartingPoint
from pfedfrz_coordinator.engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    ControlRequested,
    DeviceAppeared,
    DeviceFailed,
    DeviceHeard,
    DeviceLost,
    DeviceWaits,
    EvaluationReported,
    Event,
    ExpectUpload,
    Finish,
    OpenRound,
    SendCommand,
    Tick,
    UpdateOffered,
    UpdateRefused,
    UpdatesLost,
    UpdateStored,
)
from pfedfrz_coordinator.engine_states import EngineState
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_protocol import (
    Accepted,
    DesiredState,
    Grant,
    ModelReference,
    Purpose,
    RejectReason,
    TransferReference,
)

DEVICES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
TRANSFER = TransferReference(100, "c" * 64)
NEAR = st.integers(-1, 1)


def model(version: int) -> ModelReference:
    return ModelReference(version, f"{version:064x}", TRANSFER)


class EngineMachine(RuleBasedStateMachine):
    """Sends anything at any time and keeps its own books of what must be true."""

    @initialize(
        rounds=st.integers(1, 4),
        participants=st.integers(0, 4),
        start=st.integers(1, 3),
        quorum=st.sampled_from([0.1, 0.5, 1.0]),
        uploads=st.integers(1, 3),
        evaluate=st.booleans(),
        accepted=st.sets(DEVICES, max_size=2),
    )
    def begin(
        self,
        rounds: int,
        participants: int,
        start: int,
        quorum: float,
        uploads: int,
        evaluate: bool,
        accepted: set[str],
    ) -> None:
        self.policy = RoundPolicy(
            rounds=rounds,
            participants=participants,
            start_devices=start,
            quorum=quorum,
            uploads_at_once=uploads,
            evaluate=evaluate,
            deadline_s=20.0,
            grant_timeout_s=7.0,
        )
        self.now = 0.0
        point = StartingPoint(model(0), 1, 0, tuple(sorted(accepted)))
        self.engine = RoundEngine(self.policy, "b" * 64, point, self.now)
        self.stored: dict[int, set[str]] = {1: set(accepted)}
        self.granted: dict[str, float] = {}
        self.announced: list[tuple[int, int]] = []
        self.rounds_opened = set[int]()
        self.selected: set[str] = set()
        self.version = 0
        self.finished = 0

    def send(self, event: Event) -> None:
        self.check(self.engine.handle(event, self.now))

    def check(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case OpenRound(announcement):
                    order = (announcement.epoch, announcement.round)
                    assert not self.announced or order > self.announced[-1]
                    assert announcement.model == model(self.version)
                    assert announcement.round == len(self.stored)
                    assert len(set(announcement.selected)) == len(announcement.selected)
                    assert not set(announcement.selected) & self.stored[announcement.round]
                    # Who waits is asked only for what it still owes to a round that went on.
                    fresh = announcement.round not in self.rounds_opened
                    self.rounds_opened.add(announcement.round)
                    if fresh:
                        assert not any(map(self.engine.is_waiting, announcement.selected))
                    self.announced.append(order)
                    self.selected = set(announcement.selected)
                    self.granted = {}
                case ExpectUpload(device, _, _):
                    assert device in self.selected
                case SendCommand(device, Grant()):
                    self.granted[device] = self.now
                    assert len(self.granted) <= self.policy.uploads_at_once
                case SendCommand(device, Accepted(number, _)):
                    assert device in self.stored[number]
                    self.granted.pop(device, None)
                case SendCommand(device, answer):
                    # A refused offer for another round leaves the grant of this one alone.
                    if (answer.round, answer.epoch) == (self.engine.round, self.engine.epoch):
                        self.granted.pop(device, None)
                case Aggregate(number, devices):
                    assert set(devices) == self.stored[number]
                    assert list(devices) == sorted(devices)
                    assert devices
                    self.aggregating = number
                case CloseRound(number, purpose, missing):
                    assert set(missing) <= self.selected
                    assert number == len(self.stored)
                    assert (purpose is Purpose.TRAIN) == (number <= self.policy.rounds)
                    self.stored[number + 1] = set()
                case Finish():
                    self.finished += 1
                case _:
                    pass

    @rule(device=DEVICES)
    def may_not_train(self, device: str) -> None:
        self.send(DeviceWaits(device, "power: not on mains"))
        if self.engine.state is not EngineState.FINISHED:  # which listens to nothing any more
            assert not self.engine.is_present(device)

    @rule(device=DEVICES)
    def appear(self, device: str) -> None:
        self.send(DeviceAppeared(device))

    @rule(device=DEVICES)
    def hear(self, device: str) -> None:
        self.send(DeviceHeard(device))

    @rule(device=DEVICES)
    def lose(self, device: str) -> None:
        self.send(DeviceLost(device))

    @rule(device=DEVICES, round_error=NEAR, epoch_error=NEAR, base_error=NEAR)
    def offer(self, device: str, round_error: int, epoch_error: int, base_error: int) -> None:
        if round_error == epoch_error == 0:
            self.granted.pop(device, None)
        digest = f"{max(0, self.version + base_error):064x}"
        number = max(0, self.engine.round + round_error)
        epoch = self.engine.epoch + epoch_error
        self.send(UpdateOffered(device, number, epoch, digest, TRANSFER))

    @rule(device=DEVICES)
    def offer_well(self, device: str) -> None:
        self.granted.pop(device, None)
        self.send(
            UpdateOffered(
                device, self.engine.round, self.engine.epoch, model(self.version).digest, TRANSFER
            )
        )

    @rule(device=DEVICES, round_error=NEAR)
    def store(self, device: str, round_error: int) -> None:
        number = max(0, self.engine.round + round_error)
        collecting = self.engine.state is EngineState.COLLECTING
        if collecting and number == self.engine.round and device in self.granted:
            self.stored[number].add(device)
        self.send(UpdateStored(device, number))

    @rule(device=DEVICES, round_error=NEAR)
    def refuse(self, device: str, round_error: int) -> None:
        number = max(0, self.engine.round + round_error)
        self.send(UpdateRefused(device, number, RejectReason.NOT_FINITE, "NaN"))

    @rule(device=DEVICES, round_error=NEAR, epoch_error=NEAR)
    def report(self, device: str, round_error: int, epoch_error: int) -> None:
        number = max(0, self.engine.round + round_error)
        self.send(EvaluationReported(device, number, self.engine.epoch + epoch_error))

    @rule(device=DEVICES, epoch_error=NEAR)
    def fail(self, device: str, epoch_error: int) -> None:
        if epoch_error == 0:
            self.granted.pop(device, None)
        self.send(
            DeviceFailed(device, self.engine.round, self.engine.epoch + epoch_error, "no space")
        )

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.granted = {d: at for d, at in self.granted.items() if self.now < at + 7.0}
        self.send(Tick())

    @rule(devices=st.sets(DEVICES, min_size=1), round_error=NEAR)
    def lose_updates(self, devices: set[str], round_error: int) -> None:
        number = max(0, self.engine.round + round_error)
        if self.engine.state is EngineState.AGGREGATING and round_error == 0:
            self.stored[number] -= devices
        self.send(UpdatesLost(number, tuple(sorted(devices))))

    @rule()
    def aggregated(self) -> None:
        if self.engine.state is EngineState.AGGREGATING:
            self.version = self.aggregating
        self.send(AggregationDone(model(self.version)))

    @rule(desired=st.sampled_from([DesiredState.RUN, DesiredState.PAUSE]))
    def control(self, desired: DesiredState) -> None:
        self.send(ControlRequested(desired))

    @invariant()
    def finishes_once(self) -> None:
        if hasattr(self, "finished"):
            assert self.finished == (self.engine.state is EngineState.FINISHED)

    def teardown(self) -> None:
        """From wherever it is, willing devices bring the federation to its end."""
        if not hasattr(self, "engine"):
            return
        self.send(ControlRequested(DesiredState.RUN))
        devices = ["a", "b", "c", "d", "e", "f"]
        for device in devices:
            self.send(DeviceAppeared(device))
        for _ in range(60):
            if self.engine.state is EngineState.FINISHED:
                return
            for device in devices:
                self.offer_well(device)
                self.store(device, 0)
                self.report(device, 0, 0)
            self.aggregated()
            self.wait(8.0)
        raise AssertionError(f"still {self.engine.state} after plenty of time")


EngineMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestEngineUnderRandomOrders = EngineMachine.TestCase
