import calendar
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_bundle import make_bundle

from pfedfrz_coordinator.acceptance import Passed
from pfedfrz_coordinator.aggregation import ExactSum, find_rule
from pfedfrz_coordinator.flat import flatten
from pfedfrz_coordinator.journal import Holding, Journal
from pfedfrz_coordinator.state import CoordinatorState
from pfedfrz_coordinator.validation import ValidUpdate
from pfedfrz_protocol import (
    ConfigurationError,
    Group,
    LocalReport,
    ModelReference,
    OperationError,
    Purpose,
    RejectReason,
    RoundAnnouncement,
    TransferReference,
)

BUNDLE = make_bundle()
SIZE = 15


def announce(number: int, epoch: int, *selected: str) -> RoundAnnouncement:
    transfer = TransferReference(1, "a" * 64)
    model = ModelReference(number - 1, "a" * 64, transfer)
    return RoundAnnouncement(number, epoch, "b" * 64, Purpose.TRAIN, model, selected, 9.0)


def constant(value: float, samples: int = 1) -> ValidUpdate:
    return ValidUpdate(np.full(SIZE, value, np.float32), samples, 0.5)


def test_a_new_directory_begins_with_the_bundles_weights(tmp_path: Path) -> None:
    recovered = CoordinatorState(tmp_path, BUNDLE).recover()
    assert (recovered.completed, recovered.version, recovered.accepted) == (0, 0, ())
    for name, tensor in BUNDLE.initial_weights(Group.SHARED).items():
        np.testing.assert_array_equal(recovered.shared[name], tensor)


@pytest.mark.parametrize("year", [1970, 2019, 2051, 2106])
def test_a_clock_that_is_wrong_by_decades_is_left_out_of_the_epoch_and_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """An epoch that devices refuse would be remembered, and end the federation for good."""
    state = CoordinatorState(tmp_path / "a", BUNDLE)
    right = state.recover().epoch
    state.open_round(announce(1, right, "x"))
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: calendar.timegm((year, 6, 1, 0, 0, 0)))
        wrong = CoordinatorState(tmp_path / "a", BUNDLE)
        assert wrong.recover().epoch == right + 1
        assert CoordinatorState(tmp_path / "b", BUNDLE).recover().epoch == 1
    (note,) = wrong.journal.notes()
    assert f"clock says {year}-06-01, which is not believed" in note
    wrong.open_round(announce(1, right + 1, "x"))
    assert right + 2 <= CoordinatorState(tmp_path / "a", BUNDLE).recover().epoch < 900_000_000


def test_starts_within_a_second_that_open_no_round_have_epochs_of_their_own(
    tmp_path: Path,
) -> None:
    epochs = [CoordinatorState(tmp_path, BUNDLE).recover().epoch for _ in range(5)]
    assert epochs == sorted(set(epochs))


def test_the_epoch_grows_with_every_start_and_even_when_the_state_was_wiped(tmp_path: Path) -> None:
    first = CoordinatorState(tmp_path / "a", BUNDLE)
    epoch = first.recover().epoch
    first.open_round(announce(1, epoch + 1_000_000, "x"))
    assert CoordinatorState(tmp_path / "a", BUNDLE).recover().epoch == epoch + 1_000_001
    assert CoordinatorState(tmp_path / "b", BUNDLE).recover().epoch >= epoch


def test_a_round_is_closed_with_the_weighted_mean_and_its_numbers(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b", "c"))
    state.journal.record_report(1, "a", "offered", LocalReport(1, 0.2, 0.4, 1.0, 100))
    state.journal.record_report(1, "b", "offered", LocalReport(3, 0.4, 0.8, 2.0, 200))
    state.accept(1, "a", constant(1.0, samples=1), 50)
    state.accept(1, "b", constant(2.0, samples=3), 60)
    state.journal.reject(1, "c", RejectReason.NOT_FINITE, "NaN", 70)
    shared = state.aggregate(1, ("a", "b"), find_rule("mean"))
    assert {float(v) for tensor in shared.values() for v in tensor.ravel()} == {1.75}
    metrics = state.close_round(1)
    assert metrics.received_mean == pytest.approx(0.3)
    assert metrics.local_mean == pytest.approx(0.6)
    assert metrics.loss_mean == pytest.approx(1.5)
    assert (metrics.selected, metrics.accepted, metrics.missing) == (3, 2, 0)
    assert metrics.rejected == {RejectReason.NOT_FINITE: 1}
    assert (metrics.uplink_bytes, metrics.downlink_bytes) == (180, 300)
    assert metrics.update_norms == {"a": 0.5, "b": 0.5}
    assert not (tmp_path / "updates" / f"{1:09d}").exists()


def test_which_way_each_update_pulled_is_told_and_kept(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b", "c", "d"))
    base = flatten(BUNDLE.initial_weights(Group.SHARED), BUNDLE.manifest.layout(Group.SHARED))
    along = np.ones(SIZE, np.float32)
    for name, step in (("a", along), ("b", 2 * along), ("c", -along)):
        state.accept(1, name, ValidUpdate(base + step, 1, 1.0), 50)
    state.accept(1, "d", ValidUpdate(np.zeros(SIZE, np.float16), 1, 0.0), 50)
    state.aggregate(1, "abcd", find_rule("mean"))
    # The others of b, a and c, make nothing together; d itself does nothing.
    again = CoordinatorState(tmp_path, BUNDLE)  # killed before the round was closed
    metrics = again.close_round(1)
    assert metrics.update_cosines == pytest.approx({"a": 1.0, "c": -1.0}, abs=1e-6)
    (row,) = again.journal.rounds()
    assert row.metrics == metrics


def test_where_workers_hold_updates_the_way_is_known_of_those_here(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE, exact=True, workers=True)
    state.open_round(announce(1, 1, "a", "b"))
    update = difference("a")
    state.accept(1, "a", update, 100)
    state.accept_all(1, [held("b")])
    elsewhere = ExactSum(SIZE)
    elsewhere.add(update.numbers, 1)  # type: ignore[arg-type]
    state.finish_mean(1, ("a",), elsewhere)
    assert state.close_round(1).update_cosines == pytest.approx({"a": 1.0}, abs=1e-6)


def test_after_a_crash_in_an_open_round_what_was_accepted_is_still_there(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b"))
    state.accept(1, "a", constant(1.0), 50)
    state.aggregate(1, ("a",), find_rule("mean"))  # crashed between checkpoint and closing
    again = CoordinatorState(tmp_path, BUNDLE)
    recovered = again.recover()
    assert (recovered.completed, recovered.version, recovered.accepted) == (0, 0, ("a",))
    again.open_round(announce(1, 2, "b"))
    again.accept(1, "b", constant(3.0), 50)
    shared = again.aggregate(1, ("a", "b"), find_rule("mean"))
    assert {float(v) for tensor in shared.values() for v in tensor.ravel()} == {2.0}
    again.close_round(1)
    recovered = CoordinatorState(tmp_path, BUNDLE).recover()
    assert (recovered.completed, recovered.version, recovered.accepted) == (1, 1, ())


def test_an_accepted_device_stays_accepted_whatever_it_says_later(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a"))
    state.accept(1, "a", constant(1.0), 50)
    state.journal.record_report(1, "a", "failed", None)
    state.journal.reject(1, "a", RejectReason.DUPLICATE, "again", 1)
    state.open_round(announce(1, 2, "a"))
    (row,) = state.journal.members(1)
    assert row.status == "accepted"


def test_a_directory_of_another_bundle_is_refused(tmp_path: Path) -> None:
    CoordinatorState(tmp_path, BUNDLE)
    with pytest.raises(ConfigurationError, match="another bundle"):
        CoordinatorState(tmp_path, make_bundle(seed=1))


def test_a_damaged_checkpoint_is_said_and_not_used(tmp_path: Path) -> None:
    CoordinatorState(tmp_path, BUNDLE)
    (checkpoint,) = (tmp_path / "models").iterdir()
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(OperationError, match="damaged"):
        CoordinatorState(tmp_path, BUNDLE).recover()


def test_a_truncated_update_is_said_and_not_aggregated(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a"))
    state.accept(1, "a", constant(1.0), 50)
    (file,) = (tmp_path / "updates").rglob("*.float32")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(OperationError, match="damaged"):
        state.aggregate(1, ("a",), find_rule("mean"))


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database, but long enough to be read as one")
    with pytest.raises(OperationError, match="journal"):
        Journal(tmp_path / "journal.sqlite")


def test_the_journal_survives_power_cuts_by_its_settings(tmp_path: Path) -> None:
    Journal(tmp_path / "j.sqlite").note("hello")
    with sqlite3.connect(tmp_path / "j.sqlite") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert Journal(tmp_path / "j.sqlite", read_only=True).notes() == ["hello"]


def test_numbers_that_devices_make_up_cannot_brick_the_journal(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b"))
    for device in ("a", "b"):
        report = LocalReport(1, 0.5, 0.5, 1e308, downloaded_bytes=1 << 48)
        state.journal.record_report(1, device, "offered", report)
        state.accept(1, device, constant(1.0), 50)
    state.aggregate(1, ("a", "b"), find_rule("mean"))
    assert state.close_round(1).downlink_bytes == 1 << 48
    assert CoordinatorState(tmp_path, BUNDLE).recover().completed == 1


def test_a_clock_that_is_set_in_mid_round_cannot_brick_the_journal(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a"))
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute("UPDATE rounds SET opened_at = 0.0")
    other.close()
    state.accept(1, "a", constant(1.0), 50)
    state.aggregate(1, ("a",), find_rule("mean"))
    assert state.close_round(1).duration_s == 1e9
    assert CoordinatorState(tmp_path, BUNDLE).recover().completed == 1


def test_numbers_of_a_round_that_cannot_be_read_do_not_stop_a_restart(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a"))
    state.accept(1, "a", constant(1.0), 50)
    state.aggregate(1, ("a",), find_rule("mean"))
    state.close_round(1)
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute('UPDATE rounds SET metrics = \'{"of": "another version"}\'')
    other.close()
    again = CoordinatorState(tmp_path, BUNDLE)
    assert again.recover().completed == 1
    assert [row.metrics for row in again.journal.rounds()] == [None]


def test_after_a_restart_the_members_who_still_owe_are_known(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b", "c", "d"))
    state.accept(1, "a", constant(1.0), 50)
    state.journal.record_report(1, "b", "offered", LocalReport(1))
    state.journal.reject(1, "d", RejectReason.NOT_FINITE, "NaN", 1)
    recovered = CoordinatorState(tmp_path, BUNDLE).recover()
    assert (recovered.accepted, recovered.owing) == (("a",), ("b", "c"))


def test_an_accepted_update_that_a_power_cut_took_is_asked_for_again(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b"))
    state.accept(1, "a", constant(1.0), 50)
    state.accept(1, "b", constant(1.0), 50)
    next((tmp_path / "updates").rglob("a.float32")).unlink()
    again = CoordinatorState(tmp_path, BUNDLE)
    recovered = again.recover()
    assert (recovered.accepted, recovered.owing) == (("b",), ("a",))
    assert any("update of a is not on the disk" in note for note in again.journal.notes())


@pytest.mark.parametrize("purposes", [("evaluate", "train"), ("train", "evaluate")])
def test_a_restart_with_another_number_of_rounds_keeps_the_journal_true(
    tmp_path: Path, purposes: tuple[str, str]
) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    before, after = (Purpose(purpose) for purpose in purposes)
    state.open_round(msgspec.structs.replace(announce(1, 1, "a"), purpose=before))
    state.open_round(msgspec.structs.replace(announce(1, 2, "a"), purpose=after))
    if after is Purpose.TRAIN:
        state.accept(1, "a", constant(1.0), 50)
        state.aggregate(1, ("a",), find_rule("mean"))
    state.close_round(1)
    recovered = CoordinatorState(tmp_path, BUNDLE).recover()
    assert recovered.version == (1 if after is Purpose.TRAIN else 0)


def test_more_updates_than_a_process_may_have_files_open_are_aggregated(tmp_path: Path) -> None:
    clients = 300
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from pathlib import Path; import numpy as np\n"
        "from pfedfrz_coordinator.aggregation import aggregate, find_rule\n"
        "from pfedfrz_coordinator.update_store import UpdateStore\n"
        "store = UpdateStore(Path(sys.argv[1])); names = [f'd{n:03d}' for n in range(300)]\n"
        "for n, name in enumerate(names): store.put(1, name, np.full(40, n, np.float32))\n"
        "rows = store.open(1, names, 40)\n"
        "mean = aggregate(find_rule('mean'), rows, [1.0] * 300, block_bytes=300 * 4 * 7)\n"
        "print(set(mean.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"{{{(clients - 1) / 2}}}", done.stderr


def test_a_failed_transaction_leaves_the_journal_usable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with pytest.raises(OperationError):
        journal.open_round(1, Purpose.TRAIN, 0, "a", ("x", object()))  # type: ignore[arg-type]
    assert journal.rounds() == []
    journal.open_round(1, Purpose.TRAIN, 0, "a", ("x",))
    assert [member.device for member in journal.members(1)] == ["x"]


def test_reports_are_committed_with_the_next_row_or_when_flushed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    reader = Journal(tmp_path / "j.sqlite")
    journal.open_round(1, Purpose.TRAIN, 0, "a", ("x", "y"))
    journal.record_report(1, "x", "offered", LocalReport(1))
    assert journal.holds
    assert [member.status for member in journal.members(1)] == ["offered", "selected"]
    assert [member.status for member in reader.members(1)] == ["selected", "selected"]
    journal.flush()
    assert not journal.holds
    assert [member.status for member in reader.members(1)] == ["offered", "selected"]
    journal.record_report(1, "y", "offered", LocalReport(1))
    journal.note("something")
    assert [member.status for member in reader.members(1)] == ["offered", "offered"]


# Exact means, and updates that workers hold

EXACT = find_rule("mean:exact=true")
HOLDING = Holding("w1", "f" * 64)


def difference(name: str, samples: int = 1) -> ValidUpdate:
    random = np.random.default_rng(ord(name))
    return ValidUpdate(random.standard_normal(SIZE).astype(np.float16), samples, 0.5)


def held(name: str, samples: int = 1) -> Passed:
    return Passed(name, samples, 0.5, 100, None, 1, holding=HOLDING)


@pytest.mark.parametrize("local", ["", "a", "bc", "abc"])
def test_whoever_adds_up_which_update_the_exact_mean_is_the_same_bits(
    tmp_path: Path, local: str
) -> None:
    alone = CoordinatorState(tmp_path / "alone", BUNDLE, exact=True)
    state = CoordinatorState(tmp_path / "split", BUNDLE, exact=True, workers=True)
    elsewhere = ExactSum(SIZE)
    for each in (alone, state):
        each.open_round(announce(1, 1, *"abc"))
    for place, name in enumerate("abc"):
        update = difference(name, 10**place)
        alone.accept(1, name, update, 100)
        if name in local:
            state.accept(1, name, update, 100)
        else:
            state.accept_all(1, [held(name, 10**place)])
            elsewhere.add(update.numbers, 10**place)  # type: ignore[arg-type]
    expected = alone.aggregate(1, "abc", EXACT)
    found = state.finish_mean(1, tuple(local), elsewhere)
    assert {n: t.tobytes() for n, t in found.items()} == {
        n: t.tobytes() for n, t in expected.items()
    }
    # The same as without the exact sum, but for rounding.
    for name, tensor in alone.aggregate(1, "abc", find_rule("mean")).items():
        np.testing.assert_allclose(found[name], tensor, rtol=1e-6, atol=1e-6)
        assert not np.array_equal(tensor, BUNDLE.initial_weights(Group.SHARED)[name])


def test_an_exact_mean_of_whole_weights_is_refused(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a"))
    state.accept(1, "a", constant(1.0), 100)
    with pytest.raises(OperationError, match="holds whole weights"):
        state.aggregate(1, ["a"], EXACT)


def test_what_a_worker_holds_is_accepted_after_a_restart_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    state = CoordinatorState(tmp_path, BUNDLE, exact=True, workers=True)
    state.open_round(announce(1, 1, "a", "b", "c"))
    state.accept_all(1, [held("a"), held("b")])
    again = CoordinatorState(tmp_path, BUNDLE, exact=True, workers=True)
    recovered = again.recover()
    assert (recovered.accepted, recovered.owing) == (("a", "b"), ("c",))
    assert again.journal.holdings(1) == {"a": HOLDING, "b": HOLDING}
    again.journal.forget_accepted(1, "a")
    assert again.journal.holdings(1) == {"b": HOLDING}
    recovered = CoordinatorState(tmp_path, BUNDLE, exact=True, workers=True).recover()
    assert (recovered.accepted, recovered.owing) == (("b",), ("a", "c"))


def test_a_coordinator_that_works_alone_again_asks_for_what_workers_hold(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE, exact=True, workers=True)
    state.open_round(announce(1, 1, "a"))
    state.accept_all(1, [held("a")])
    alone = CoordinatorState(tmp_path, BUNDLE)
    recovered = alone.recover()
    assert (recovered.accepted, recovered.owing) == ((), ("a",))
    assert alone.journal.holdings(1) == {}


def test_whole_weights_do_not_outlive_a_change_to_the_exact_mean(tmp_path: Path) -> None:
    state = CoordinatorState(tmp_path, BUNDLE)
    state.open_round(announce(1, 1, "a", "b"))
    state.accept(1, "a", constant(1.0), 100)
    state.accept(1, "b", difference("b"), 100)
    recovered = CoordinatorState(tmp_path, BUNDLE, exact=True).recover()
    assert (recovered.accepted, recovered.owing) == (("b",), ("a",))
