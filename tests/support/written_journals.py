"""Journals of small federations, written as a coordinator writes them, and much quicker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import msgspec
from tiny_bundle import make_bundle

from pfedfrz_coordinator.circumstances import write_circumstances
from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.round_metrics import summarize_round
from pfedfrz_protocol import LocalReport, Purpose, RejectReason, RoundMetrics

DEVICES = ("ada", "bob", "cyd")
BEGAN = 1_750_000_000.0
ROUND_S = 10.0


@contextmanager
def at(seconds: float) -> Iterator[None]:
    """Let the journal believe that it is so many seconds after the run's beginning."""
    with mock.patch("time.time", return_value=BEGAN + seconds):
        yield


@dataclass
class WrittenRun:
    """A state directory whose coordinator has gone through some rounds."""

    state_dir: Path
    rounds: int = 3
    """What the coordinator was told."""
    seed: int = 0
    aggregation: str = "mean"

    def write(self, *, closed: int = 3, evaluated: bool = True, opened: bool = False) -> Path:
        """So many rounds of training of ten seconds, then perhaps the evaluation; the directory.

        In round 2 the update of cyd is refused. `opened` leaves another round open.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        journal = Journal(self.state_dir / "journal.sqlite")
        bundle = make_bundle()
        journal.set_fact("bundle", bundle.manifest.digest)
        settings = CoordinatorSettings(
            federation="lab",
            bundle=Path("model.pfz"),
            state_dir=self.state_dir,
            aggregation=self.aggregation,
            rounds=RoundPolicy(rounds=self.rounds, seed=self.seed),
        )
        write_circumstances(journal, settings, bundle.manifest)
        for number in range(1, closed + 1):
            self._train(journal, number)
        if evaluated:
            self._evaluate(journal, closed + 1)
        if opened:
            with at(closed * ROUND_S):
                journal.open_round(closed + 1, Purpose.TRAIN, closed, "0" * 64, DEVICES)
        journal.close()
        return self.state_dir

    def _train(self, journal: Journal, number: int) -> None:
        began = (number - 1) * ROUND_S
        with at(began):
            journal.open_round(number, Purpose.TRAIN, number - 1, "0" * 64, DEVICES)
        for place, name in enumerate(DEVICES):
            local = 0.5 + 0.1 * number + 0.05 * place
            report = LocalReport(
                40 + place, local - 0.25, local, 1.0 / number, 1000, 2.0 + place, 0.5
            )
            journal.record_report(number, name, "offered", report)
            if name == "cyd" and number == 2:
                with at(began + 7.0):
                    journal.reject(number, name, RejectReason.NOT_FINITE, "a NaN in head", 300)
            else:
                journal.accept(number, name, 40 + place, 1.0 + place, 250)
        self._close(journal, number, began + ROUND_S)

    def _evaluate(self, journal: Journal, number: int) -> None:
        began = (number - 1) * ROUND_S
        with at(began):
            journal.open_round(number, Purpose.EVALUATE, number - 1, "0" * 64, DEVICES)
        for place, name in enumerate(DEVICES):
            report = LocalReport(40 + place, 0.9 + 0.01 * place, downloaded_bytes=1000)
            journal.record_report(number, name, "reported", report)
        self._close(journal, number, began + 1.0)

    def _close(self, journal: Journal, number: int, seconds: float) -> None:
        row = journal.round(number)
        assert row is not None
        with at(seconds):
            journal.close_round(number, self._metrics(journal, number))

    def _metrics(self, journal: Journal, number: int) -> RoundMetrics:
        row = journal.round(number)
        assert row is not None
        metrics = summarize_round(journal, row, {})
        cosines = {name: 0.5 if name != "bob" else -0.25 for name in metrics.update_norms}
        return msgspec.structs.replace(metrics, update_cosines=cosines)
