"""A coordinator's numbers as Prometheus takes them.

The loop writes them, a scrape reads them. Names follow Prometheus' rules: base units, `_total` for
what only grows, and labels with few values. A device's name is none of those, so there is a series
for each device only where a person has asked for that, and for a bounded number of them.

Counters begin at 0 with each life of the process, which Prometheus reckons with. What belongs to a
round is counted when it is closed.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pfedfrz_protocol import Purpose, RejectReason, RoundMetrics

from .engine_states import EngineState
from .instruments import Situation
from .journal import DeviceRow
from .registry import Standing

__all__ = ["MAX_DEVICES_SHOWN", "FederationFacts", "PrometheusInstruments"]

MAX_DEVICES_SHOWN = 1000
_ROUND_S = (
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    150,
    300,
    600,
    1800,
    3600,
    10_800,
    43_200,
    86_400,
)
_AGGREGATION_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_STATISTICS = ("min", "median", "max")
_NONE = "none"
_AGAINST = -0.1
"""Honest updates of devices whose data differ are around 0, some a little below."""


@dataclass(frozen=True)
class FederationFacts:
    """What does not change while a coordinator runs."""

    federation: str
    version: str
    """Of pfedfrz"""
    bundle: str
    """Digest of the bundle that is trained"""
    aggregation: str
    rounds: int
    """How many rounds of training there are to be"""


class PrometheusInstruments:
    """The metrics of one coordinator, in a registry of their own."""

    def __init__(self, facts: FederationFacts, *, per_device: bool = False) -> None:
        """`per_device` adds gauges with the names of devices."""
        # When a series began would be as many series again, and Prometheus finds out by itself.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        prometheus_client.ProcessCollector(registry=self.registry)
        prometheus_client.PlatformCollector(registry=self.registry)
        self._seen_ignored: Tally[RejectReason] = Tally()
        self._began_s: float | None = None
        self._make_facts(facts)
        self._make_situation()
        self._make_rounds()
        self._devices = _DeviceGauges(self.registry) if per_device else None

    def _gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return Gauge(f"pfedfrz_{name}", help_, labels, registry=self.registry)

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"pfedfrz_{name}", help_, labels, registry=self.registry)

    def _unmeasured(self, name: str, help_: str) -> Gauge:
        """A gauge that is not a number until something was measured."""
        gauge = self._gauge(name, help_)
        gauge.set(math.nan)
        return gauge

    def _make_facts(self, facts: FederationFacts) -> None:
        build = self._gauge("build_info", "Which pfedfrz this is; always 1.", "version")
        build.labels(facts.version).set(1)
        federation = self._gauge(
            "federation_info", "What is trained, and how; always 1.",
            "federation", "bundle", "aggregation",
        )  # fmt: skip
        federation.labels(facts.federation, facts.bundle, facts.aggregation).set(1)
        planned = self._gauge("rounds_planned", "Rounds of training that there are to be.")
        planned.set(facts.rounds)

    def _make_situation(self) -> None:
        self._round = self._gauge("round", "Number of the open round, or of the last closed one.")
        self._state = self._gauge("state", "1 for what the coordinator is doing, else 0.", "state")
        self._connected = self._gauge("broker_connected", "1 while the broker is there, else 0.")
        self._paused = self._gauge("paused", "1 while no round is to be opened, else 0.")
        self._present = self._gauge(
            "devices", "Devices that are there, by what they may be asked.", "presence"
        )
        self._standing = self._gauge(
            "devices_standing", "Devices that are known, by what the coordinator makes of them.",
            "standing",
        )  # fmt: skip
        self._ignored = self._counter(
            "messages_ignored", "Messages that were not even looked into.", "reason"
        )

    def _make_rounds(self) -> None:
        self._closed = self._counter("rounds_closed", "Rounds that were closed.", "purpose")
        self._closed_at = self._gauge(
            "round_closed_timestamp_seconds", "When the last round was closed; 0 before the first."
        )
        self._duration = Histogram(
            "pfedfrz_round_duration_seconds", "From opening a round to closing it.", ("purpose",),
            buckets=_ROUND_S, registry=self.registry,
        )  # fmt: skip
        self._aggregation = Histogram(
            "pfedfrz_aggregation_duration_seconds",
            "From the last update of a round to its durable model.",
            buckets=_AGGREGATION_S, registry=self.registry,
        )  # fmt: skip
        for purpose in Purpose:
            self._closed.labels(purpose.value)
            self._duration.labels(purpose.value)
        self._updates = self._counter(
            "updates", "Updates that devices were asked for, by what became of them.",
            "outcome", "reason",
        )  # fmt: skip
        for outcome in ("accepted", "missing"):
            self._updates.labels(outcome, _NONE)
        # A series that begins with its first event would hide that one from rate().
        for reason in RejectReason:
            self._updates.labels("rejected", reason.value)
            self._ignored.labels(reason.value)
        self._stale = self._counter(
            "updates_stale", "Accepted updates that were trained from an older model."
        )
        self._uplink = self._counter("uplink_bytes", "Bytes of updates that came.")
        self._downlink = self._counter("downlink_bytes", "Bytes of models, as devices say.")
        self._train = self._counter(
            "device_train_seconds", "Time that devices spent on training, as they say."
        )
        self._evaluate = self._counter(
            "device_evaluate_seconds", "Time that devices spent on measuring, as they say."
        )
        self._received = self._unmeasured(
            "received_accuracy_ratio",
            "Mean accuracy of the last round before training, with the devices' own weights.",
        )
        self._local = self._unmeasured(
            "local_accuracy_ratio", "Mean accuracy of the last round after training."
        )
        self._loss = self._unmeasured("train_loss", "Mean training loss of the last round.")
        self._received_loss = self._unmeasured(
            "received_loss", "Mean test loss of the last round before training, without classes."
        )
        self._local_loss = self._unmeasured("local_loss", "The same after training.")
        self._norm = self._gauge(
            "update_norm", "Lengths of the last model's updates' steps.", "statistic"
        )
        self._cosine = self._gauge(
            "update_cosine", "Cosines of these steps to the mean of the others.", "statistic"
        )
        self._opposed = self._gauge(
            "updates_opposed", "Updates of the last model whose cosine was below -0.1."
        )

    def look(self, situation: Situation) -> None:
        """How it is now."""
        self._round.set(situation.round)
        for state in EngineState:
            self._state.labels(state.value).set(state is situation.state)
        self._connected.set(situation.connected)
        self._paused.set(situation.paused)
        self._present.labels("online").set(situation.online)
        self._present.labels("waiting").set(situation.waiting)
        self._present.labels("silent").set(situation.silent)
        self._count_ignored(situation.ignored)

    def standings(self, standings: Mapping[Standing, int]) -> None:
        """How many devices are let in, wait for that, or are kept out."""
        for standing in Standing:
            self._standing.labels(standing.value).set(standings.get(standing, 0))

    def aggregating(self, now_s: float) -> None:
        """The next model is begun."""
        self._began_s = now_s

    def closed(
        self,
        metrics: RoundMetrics,
        members: Callable[[], Sequence[DeviceRow]],
        *,
        closed_at: float,
        now_s: float,
    ) -> None:
        """A round was closed."""
        self._closed.labels(metrics.purpose.value).inc()
        self._duration.labels(metrics.purpose.value).observe(metrics.duration_s)
        if metrics.purpose is Purpose.TRAIN:
            if self._began_s is not None:
                self._aggregation.observe(max(0.0, now_s - self._began_s))
            self._updates.labels("accepted", _NONE).inc(metrics.accepted)
            self._updates.labels("missing", _NONE).inc(metrics.missing)
            self._stale.inc(metrics.stale)
        self._began_s = None
        for reason, count in metrics.rejected.items():
            self._updates.labels("rejected", reason.value).inc(count)
        self._uplink.inc(metrics.uplink_bytes)
        self._downlink.inc(metrics.downlink_bytes)
        self._train.inc(metrics.train_s)
        self._evaluate.inc(metrics.evaluate_s)
        # What was counted in it since the last look.
        self._count_ignored(metrics.ignored)
        self._seen_ignored.clear()
        self.resumed(metrics, closed_at)
        if self._devices is not None:
            self._devices.show(metrics, members())

    def resumed(self, metrics: RoundMetrics, closed_at: float) -> None:
        """Show what stays of a closed round: nothing is counted."""
        self._closed_at.set(closed_at)
        for gauge, value in (
            (self._received, metrics.received_mean),
            (self._local, metrics.local_mean),
            (self._loss, metrics.loss_mean),
            (self._received_loss, metrics.received_loss_mean),
            (self._local_loss, metrics.local_loss_mean),
        ):
            gauge.set(math.nan if value is None else value)
        if metrics.purpose is Purpose.TRAIN:
            cosines = metrics.update_cosines.values()
            _summarize(self._norm, list(metrics.update_norms.values()))
            _summarize(self._cosine, list(cosines))
            self._opposed.set(sum(cosine < _AGAINST for cosine in cosines))

    def _count_ignored(self, ignored: Mapping[RejectReason, int]) -> None:
        for reason, count in ignored.items():
            self._ignored.labels(reason.value).inc(max(0, count - self._seen_ignored[reason]))
            self._seen_ignored[reason] = count


def _summarize(gauge: Gauge, values: list[float]) -> None:
    found = (min(values), statistics.median(values), max(values)) if values else (math.nan,) * 3
    for name, value in zip(_STATISTICS, found, strict=True):
        gauge.labels(name).set(value)


class _DeviceGauges:
    """One series for each device of the last round, by name, for the first `MAX_DEVICES_SHOWN`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, help_: str) -> Gauge:
            return Gauge(f"pfedfrz_device_{name}", help_, ("device",), registry=registry)

        self._accepted = gauge("accepted", "1 if its update is in the last model, else 0.")
        self._samples = gauge("samples", "Training samples, as it says.")
        self._received = gauge("received_accuracy_ratio", "Its accuracy before training.")
        self._local = gauge("local_accuracy_ratio", "Its accuracy after training.")
        self._norm = gauge("update_norm", "Length of its update's step.")
        self._cosine = gauge("update_cosine", "Cosine of its step to the mean of the others.")

    def show(self, metrics: RoundMetrics, members: Sequence[DeviceRow]) -> None:
        """The devices of a round in place of those of the round before.

        What is about the last model stays until there is another one.
        """
        shown = members[:MAX_DEVICES_SHOWN]
        self._show_reports(shown)
        if metrics.purpose is Purpose.TRAIN:
            self._show_updates(metrics, shown)

    def _show_reports(self, members: Sequence[DeviceRow]) -> None:
        for gauge in (self._samples, self._received, self._local):
            gauge.clear()
        for row in members:
            if row.report is None:
                continue
            self._samples.labels(row.device).set(row.report.samples)
            if row.report.received is not None:
                self._received.labels(row.device).set(row.report.received)
            if row.report.local is not None:
                self._local.labels(row.device).set(row.report.local)

    def _show_updates(self, metrics: RoundMetrics, members: Sequence[DeviceRow]) -> None:
        for gauge in (self._accepted, self._norm, self._cosine):
            gauge.clear()
        for row in members:
            self._accepted.labels(row.device).set(row.status == "accepted")
            if row.device in metrics.update_norms:
                self._norm.labels(row.device).set(metrics.update_norms[row.device])
            if row.device in metrics.update_cosines:
                self._cosine.labels(row.device).set(metrics.update_cosines[row.device])
