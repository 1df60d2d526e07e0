"""Going over to another bundle and back, on the disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from identities import COORDINATOR, key_of
from tiny_bundle import make_bundle

from pfedfrz_edge.bundle_homes import MOST_ATTEMPTS, BundleHomes
from pfedfrz_edge.bundle_record import BundleRecord, load_record, save_record
from pfedfrz_edge.download_store import DownloadStore
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_protocol import (
    Bundle,
    BundleOffer,
    ConfigurationError,
    Group,
    ModelLabel,
    OperationError,
    SharedCodec,
    describe_transfer,
    seal_tensors,
    split_chunks,
    write_bundle,
)

FIRST = make_bundle()
# One personal weight stays, one is shared now, one is new; one that was shared is personal now.
SECOND = make_bundle(
    1,
    personal={"front.weight": (4, 6), "head.bias": (3,), "new": (2,)},
    shared={"head.weight": (3, 4), "front.bias": (4,)},
)
THIRD = make_bundle(2)
SUPPORT = Path(__file__).parents[1] / "support"


def offer_of(bundle: Bundle, serial: int) -> BundleOffer:
    archive = write_bundle(bundle.manifest, bundle.files)
    return BundleOffer(serial, bundle.manifest.digest, describe_transfer(archive))


def present(homes: BundleHomes, bundle: Bundle) -> None:
    homes.folder.mkdir(exist_ok=True)
    homes.offered.write_bytes(write_bundle(bundle.manifest, bundle.files))


def install(homes: BundleHomes, bundle: Bundle, serial: int) -> None:
    present(homes, bundle)
    homes.install(offer_of(bundle, serial))


def own_weights(directory: Path, bundle: Bundle, value: float) -> None:
    weights = {n: np.full_like(w, value) for n, w in bundle.initial_personal().items()}
    PersonalStore(directory, bundle.manifest.digest).save(StoredPersonal(weights, 3, 1))


def loaded(homes: BundleHomes) -> StoredPersonal:
    stored = PersonalStore(homes.home, homes.active).load()
    assert stored is not None
    return stored


def receive(directory: Path, bundle: Bundle, value: float) -> None:
    """Shared weights as they were last downloaded."""
    shared = {n: np.full_like(w, value) for n, w in bundle.initial_weights(Group.SHARED).items()}
    codec = SharedCodec.for_manifest(bundle.manifest)
    payload = seal_tensors(codec.encode(shared, ModelLabel(4)), key_of(COORDINATOR))
    for number, chunk in enumerate(split_chunks(payload)):
        DownloadStore(directory).keep(describe_transfer(payload), number, chunk)


def test_without_an_offer_everything_is_where_it_was(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    homes.begin()
    homes.survive()
    homes.pass_trial()
    assert (homes.active, homes.home) == (FIRST.manifest.digest, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_personal_weights_go_on_and_those_of_before_stay(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    receive(tmp_path, FIRST, 9.0)
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    assert homes.active == SECOND.manifest.digest
    assert homes.read().manifest == SECOND.manifest
    weights = loaded(homes).weights
    assert np.unique(weights["front.weight"]).tolist() == [7.0]
    assert np.unique(weights["head.bias"]).tolist() == [9.0]
    np.testing.assert_array_equal(weights["new"], SECOND.initial_personal()["new"])
    assert set(weights) == set(SECOND.initial_personal())
    before = PersonalStore(tmp_path, FIRST.manifest.digest).load()
    assert before is not None
    assert np.unique(before.weights["front.bias"]).tolist() == [7.0]
    said = homes.standing.installed
    assert said is not None
    assert "begin as last received: head.bias" in said
    assert "stay with the bundle of before: front.bias" in said


def test_a_started_process_runs_what_the_record_says(tmp_path: Path) -> None:
    install(BundleHomes(tmp_path, FIRST), SECOND, 5)
    again = BundleHomes(tmp_path, FIRST)
    again.follow_the_person()
    assert again.active == SECOND.manifest.digest
    assert (again.standing.serial, again.standing.followed) == (5, 5)


def test_back_at_a_bundle_that_it_had_the_newest_weights_count(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    homes.pass_trial()
    own_weights(homes.home, SECOND, 8.0)
    install(homes, FIRST, 6)
    assert homes.home == tmp_path
    weights = loaded(homes).weights
    assert np.unique(weights["front.weight"]).tolist() == [8.0]
    assert np.unique(weights["front.bias"]).tolist() == [7.0]


def test_a_process_that_dies_on_trial_goes_back_and_says_why(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    install(BundleHomes(tmp_path, FIRST), SECOND, 5)
    for _ in range(MOST_ATTEMPTS):
        killed = BundleHomes(tmp_path, FIRST)
        killed.begin()
        assert killed.active == SECOND.manifest.digest
    homes = BundleHomes(tmp_path, FIRST)
    homes.begin()
    assert homes.active == FIRST.manifest.digest
    assert loaded(homes).round == 3
    refusal = homes.refusals[SECOND.manifest.digest]
    assert "died with it 3 times" in refusal.detail
    assert (refusal.lasting, refusal.serial) == (True, 5)
    assert BundleHomes(tmp_path, FIRST).refusals == homes.refusals


def test_power_cuts_while_nothing_dangerous_goes_on_do_not_count(tmp_path: Path) -> None:
    install(BundleHomes(tmp_path, FIRST), SECOND, 5)
    for _ in range(3 * MOST_ATTEMPTS):
        homes = BundleHomes(tmp_path, FIRST)
        homes.begin()
        homes.survive()
        homes.risk()
        homes.survive()
        assert homes.active == SECOND.manifest.digest


def test_work_that_breaks_again_and_again_fails_the_trial(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    for attempt in range(MOST_ATTEMPTS):
        assert not homes.has_failed
        homes.begin()
        homes.survive()
        homes.risk()
        assert homes.has_failed == (attempt == MOST_ATTEMPTS - 1)
    assert homes.go_back("no memory")
    assert homes.active == FIRST.manifest.digest
    assert not homes.go_back("there is nothing to go back to")


def test_after_its_first_work_it_stays_and_what_can_be_fetched_again_goes(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    homes.pass_trial()
    own_weights(homes.home, SECOND, 8.0)
    second_home = homes.home
    install(homes, THIRD, 6)
    homes.pass_trial()
    install(homes, FIRST, 7)
    homes.pass_trial()
    assert not (second_home / "model.pfz").exists()
    assert PersonalStore(second_home, SECOND.manifest.digest).load() is not None
    assert not homes.go_back("too late")
    homes.begin()
    assert load_record(tmp_path) == BundleRecord(
        FIRST.manifest.digest, FIRST.manifest.digest, FIRST.manifest.digest,
        serial=7, followed=7, installed=homes.standing.installed,
    )  # fmt: skip


def test_an_offer_during_a_trial_leaves_the_proved_bundle_the_way_back(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    own_weights(homes.home, SECOND, 8.0)  # of a round that was not done
    install(homes, THIRD, 6)
    weights = loaded(homes).weights
    assert np.unique(weights["front.bias"]).tolist() == [7.0]  # which the second has no place for
    assert np.unique(weights["front.weight"]).tolist() == [7.0]
    assert homes.go_back("no memory")
    assert homes.active == FIRST.manifest.digest
    assert loaded(homes).round == 3


def test_the_proved_bundle_offered_during_a_trial_is_not_on_trial_again(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    tried = homes.home
    own_weights(tried, SECOND, 8.0)
    install(homes, FIRST, 6)
    assert (homes.active, homes.has_failed) == (FIRST.manifest.digest, False)
    assert not homes.go_back("there is nothing to go back to")
    stored = loaded(homes)
    assert stored.round == 3
    assert np.unique(stored.weights["front.weight"]).tolist() == [7.0]
    assert not (tried / "model.pfz").exists()
    record = load_record(tmp_path)
    assert record is not None
    assert (record.previous, record.attempts, record.followed) == ("", 0, 6)


def test_what_a_bundle_says_is_one_printable_line_in_the_log_and_in_the_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    assert homes.go_back("broke\x1b[2J\nforged")
    detail = homes.refusals[SECOND.manifest.digest].detail
    assert detail == r"tried, and gone back: broke\x1b[2J\nforged"
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert caplog.records


def test_models_of_bundles_that_are_not_needed_go_and_personal_weights_and_updates_stay(
    tmp_path: Path,
) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    lasting = {"personal-000000001.safetensors", "pending-update.msgpack", "settled-round.msgpack",
               "model-mine.safetensors"}  # fmt: skip
    passing = {"model-000000003.safetensors", "model-000000004.safetensors",
               "error-feedback.safetensors", "error-feedback-waiting.safetensors"}  # fmt: skip
    for name in (lasting | passing) - {"personal-000000001.safetensors"}:
        (tmp_path / name).write_bytes(b"a")
    homes = BundleHomes(tmp_path, FIRST)
    install(homes, SECOND, 5)
    homes.pass_trial()
    assert passing | lasting <= {path.name for path in tmp_path.iterdir()}  # one may go back
    install(homes, THIRD, 6)
    homes.pass_trial()
    assert {path.name for path in tmp_path.glob("*.*")} == lasting | {"bundle.json"}
    assert PersonalStore(tmp_path, FIRST.manifest.digest).load() is not None


def test_what_a_person_configures_afterwards_wins_until_a_newer_offer(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    install(BundleHomes(tmp_path, FIRST), SECOND, 5)
    chosen = BundleHomes(tmp_path, THIRD)
    chosen.follow_the_person()
    assert chosen.active == THIRD.manifest.digest
    assert np.unique(loaded(chosen).weights["front.weight"]).tolist() == [7.0]
    assert chosen.standing.followed == 5
    assert chosen.standing.installed is None
    assert BundleHomes(tmp_path, THIRD).active == THIRD.manifest.digest


def test_a_configuration_that_names_what_runs_already_changes_nothing(tmp_path: Path) -> None:
    install(BundleHomes(tmp_path, FIRST), SECOND, 5)
    chosen = BundleHomes(tmp_path, SECOND)
    chosen.follow_the_person()
    assert chosen.active == SECOND.manifest.digest
    assert chosen.go_back("it is on trial still")


def test_the_first_bundle_gone_from_the_configuration_its_weights_go_on(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    BundleHomes(tmp_path, FIRST).remember_offer(4, is_followed=False)
    chosen = BundleHomes(tmp_path, THIRD)
    chosen.follow_the_person()
    assert chosen.home != tmp_path
    assert np.unique(loaded(chosen).weights["front.bias"]).tolist() == [7.0]


def test_a_refusal_is_kept_and_looked_at_again_by_the_next_process(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    present(homes, SECOND)
    homes.refuse(offer_of(SECOND, 5), "its data do not fit")
    assert set(homes.refusals) == {SECOND.manifest.digest}
    assert not homes.offered.exists()
    record = load_record(tmp_path)
    assert record is not None
    assert record.refused[SECOND.manifest.digest].detail == "its data do not fit"
    assert BundleHomes(tmp_path, FIRST).refusals == {}


def test_no_more_than_a_few_refusals_are_kept(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    for serial in range(30):
        digest = f"{serial:064x}"
        homes.refuse(BundleOffer(serial, digest, offer_of(SECOND, 1).transfer), "no")
    record = load_record(tmp_path)
    assert record is not None
    assert sorted(r.serial for r in record.refused.values()) == list(range(22, 30))


def test_an_archive_that_is_not_the_offered_one_is_not_installed(tmp_path: Path) -> None:
    homes = BundleHomes(tmp_path, FIRST)
    present(homes, THIRD)
    with pytest.raises(ConfigurationError, match="not the bundle that was offered"):
        homes.install(offer_of(SECOND, 5))
    assert homes.active == FIRST.manifest.digest


def test_personal_weights_that_cannot_be_read_stop_the_change_and_stay(tmp_path: Path) -> None:
    own_weights(tmp_path, FIRST, 7.0)
    (file,) = tmp_path.glob("personal-*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    homes = BundleHomes(tmp_path, FIRST)
    with pytest.raises(OperationError, match="no personal weights"):
        install(homes, SECOND, 5)
    assert homes.active == FIRST.manifest.digest
    assert load_record(tmp_path) is None


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    save_record(tmp_path, BundleRecord("a", "a", "a"))
    (tmp_path / "bundle.json").write_bytes(b'{"root": "a"')
    with pytest.raises(OperationError, match=r"bundle\.json is damaged") as caught:
        BundleHomes(tmp_path, FIRST)
    assert "\n" not in str(caught.value)


def test_killed_at_any_step_of_the_change_it_runs_one_of_the_two_whole(tmp_path: Path) -> None:
    script = SUPPORT / "killed_updates.py"
    done = subprocess.run(
        [sys.executable, str(script), "device", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8
