"""Going over to another bundle where the coordinator runs."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_bundle import make_bundle

from pfedfrz_coordinator import adoption
from pfedfrz_coordinator.adoption import Adoption, adopt_bundle, finish_adoption
from pfedfrz_coordinator.bundle_offering import Offered, load_offered
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.state import CoordinatorState
from pfedfrz_protocol import (
    Bundle,
    ConfigurationError,
    Group,
    Hyperparameters,
    ModelReference,
    OperationError,
    Purpose,
    RoundAnnouncement,
    TransferReference,
    find_method,
    tensors_digest,
)

FIRST = make_bundle()
SECOND = make_bundle(
    1,
    personal={"front.weight": (4, 6)},
    shared={"head.weight": (3, 4), "head.bias": (5,), "front.bias": (4,)},
)
SUPPORT = Path(__file__).parents[1] / "support"


def run_rounds(directory: Path, bundle: Bundle, rounds: int, value: float) -> None:
    """Some rounds, the last of which is left open; every weight has `value` then."""
    state = CoordinatorState(directory, bundle)
    state.recover()
    model = {n: np.full_like(w, value) for n, w in bundle.initial_weights(Group.SHARED).items()}
    for number in range(1, rounds + 2):
        reference = ModelReference(
            number - 1, tensors_digest(model), TransferReference(1, "a" * 64)
        )
        state.open_round(
            RoundAnnouncement(
                number, 100 + number, bundle.manifest.digest, Purpose.TRAIN, reference, ("a",), 9.0
            )
        )
        if number <= rounds:
            state._checkpoints.save(number, model, bundle.manifest.digest)
            state.close_round(number)
    state.journal.accept(rounds + 1, "a", 10, 1.0, 100)
    state.journal.close()


def offered_by(directory: Path) -> Offered:
    journal = Journal(directory / "journal.sqlite")
    try:
        return load_offered(journal)
    finally:
        journal.close()


def adopted(directory: Path, bundle: Bundle) -> Adoption:
    found = adopt_bundle(directory, bundle)
    assert found is not None
    return found


def test_shared_weights_that_fit_go_on_and_what_was_is_aside(tmp_path: Path) -> None:
    run_rounds(tmp_path, FIRST, 2, 7.0)
    found = adopted(tmp_path, SECOND)
    assert (found.carried, found.fresh) == (("head.weight",), ("head.bias", "front.bias"))
    assert (found.left, found.rounds, found.unused) == (("head.bias",), 2, 1)
    recovered = CoordinatorState(tmp_path, SECOND).recover()
    assert (recovered.completed, recovered.version, recovered.accepted) == (0, 0, ())
    assert recovered.epoch > 103
    assert np.unique(recovered.shared["head.weight"]).tolist() == [7.0]
    initial = SECOND.initial_weights(Group.SHARED)
    for name in ("head.bias", "front.bias"):
        np.testing.assert_array_equal(recovered.shared[name], initial[name])
    before = CoordinatorState(found.aside, FIRST).recover()
    assert before.completed == 2
    assert np.unique(before.shared["head.bias"]).tolist() == [7.0]
    text = "\n".join(found.lines)
    assert "after 2 rounds" in text
    assert "have no place any more: head.bias" in text
    assert "1 updates of the open round are in no model" in text


def test_another_schedule_carries_everything(tmp_path: Path) -> None:
    run_rounds(tmp_path, FIRST, 1, 7.0)
    schedule = find_method("pfedfrz").schedule(Hyperparameters(epochs=9))
    other = Bundle(msgspec.structs.replace(FIRST.manifest, schedule=schedule), FIRST.files)
    found = adopted(tmp_path, other)
    assert (set(found.carried), found.fresh, found.left) == ({"head.weight", "head.bias"}, (), ())


def test_there_is_nothing_to_adopt_in_a_new_directory_or_twice(tmp_path: Path) -> None:
    assert adopt_bundle(tmp_path, SECOND) is None
    run_rounds(tmp_path, FIRST, 1, 7.0)
    assert adopt_bundle(tmp_path, FIRST) is None
    adopted(tmp_path, SECOND)
    assert adopt_bundle(tmp_path, SECOND) is None
    assert len(list((tmp_path / "replaced").iterdir())) == 1


def test_there_and_back_serials_grow_and_what_was_offered_is_known(tmp_path: Path) -> None:
    run_rounds(tmp_path, FIRST, 1, 7.0)
    assert offered_by(tmp_path) == Offered()
    adopted(tmp_path, SECOND)
    one = offered_by(tmp_path)
    assert one.serial > 0
    assert (one.chunks, one.bundles, one.model) == (1, {}, (1, 1))
    adopted(tmp_path, FIRST)
    two = offered_by(tmp_path)
    assert two.serial > one.serial
    assert (two.bundles, two.model) == ({SECOND.manifest.digest: 1}, None)
    adopted(tmp_path, SECOND)
    assert offered_by(tmp_path).bundles == {FIRST.manifest.digest: 1}


def test_devices_and_keys_stay_where_they_are(tmp_path: Path) -> None:
    run_rounds(tmp_path, FIRST, 1, 7.0)
    names = ("devices.sqlite", "device-bundles.sqlite", "coordinator.key")
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    adopted(tmp_path, SECOND)
    assert all((tmp_path / name).read_bytes() == name.encode() for name in names)


def test_a_bundle_that_cannot_be_offered_is_not_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_rounds(tmp_path, FIRST, 1, 7.0)
    monkeypatch.setattr(adoption, "MAX_BUNDLE_BYTES", 100)
    with pytest.raises(ConfigurationError, match="at most 100 can be offered"):
        adopt_bundle(tmp_path, SECOND)
    assert CoordinatorState(tmp_path, FIRST).recover().completed == 1


def test_without_being_asked_to_the_other_bundle_is_refused(tmp_path: Path) -> None:
    run_rounds(tmp_path, FIRST, 1, 7.0)
    with pytest.raises(ConfigurationError, match="with --adopt-bundle"):
        CoordinatorState(tmp_path, SECOND)


def test_a_damaged_plan_is_one_line(tmp_path: Path) -> None:
    finish_adoption(tmp_path)
    (tmp_path / "adoption.json").write_text("{")
    with pytest.raises(OperationError, match=r"adoption\.json is damaged"):
        finish_adoption(tmp_path)


def test_killed_at_any_step_it_has_one_of_the_two_whole(tmp_path: Path) -> None:
    script = SUPPORT / "killed_updates.py"
    done = subprocess.run(
        [sys.executable, str(script), "coordinator", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15
