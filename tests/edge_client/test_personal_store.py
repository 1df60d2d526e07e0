"""Personal weights exist nowhere else: what a kill, a power cut or a bad disk may do to them."""

import logging
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_protocol import ConfigurationError, OperationError, sha256_hex
from pfedfrz_storage import save_tensors

BUNDLE = "a" * 64


def stored(number: int, size: int = 6) -> StoredPersonal:
    """Weights that say which save they are from."""
    weights = {
        "front.weight": np.full((4, size), number, np.float32),
        "front.bias": np.full(4, -number, np.float32),
    }
    return StoredPersonal(weights, number, number % 2)


def number_of(found: StoredPersonal | None) -> int:
    """The number of the save, when everything in it is from that one save."""
    assert found is not None
    expected = stored(found.round, found.weights["front.weight"].shape[1])
    assert found.phase == expected.phase
    assert set(found.weights) == set(expected.weights)
    for name, weight in expected.weights.items():
        assert found.weights[name].dtype == np.float32
        np.testing.assert_array_equal(found.weights[name], weight)
    return found.round


def filled(directory: Path, count: int) -> PersonalStore:
    store = PersonalStore(directory, BUNDLE)
    for number in range(1, count + 1):
        store.save(stored(number))
    return store


def files(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted(directory.glob("personal-*.safetensors"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)


def test_a_new_store_has_no_weights(tmp_path: Path) -> None:
    assert PersonalStore(tmp_path / "state" / "personal", BUNDLE).load() is None


def test_the_newest_save_is_loaded_by_this_process_and_by_the_next(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    assert number_of(store.load()) == 3
    assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 3


@pytest.mark.parametrize("accuracy", [None, 0.1 + 0.2])
def test_what_the_round_began_with_is_kept_to_the_last_bit(
    tmp_path: Path, accuracy: float | None
) -> None:
    loss = None if accuracy is None else 10 * accuracy
    kept = StoredPersonal(stored(3).weights, 3, 1, "b" * 64, accuracy, loss)
    PersonalStore(tmp_path, BUNDLE).save(kept)
    found = PersonalStore(tmp_path, BUNDLE).load()
    assert found is not None
    assert (found.base, found.received, found.received_loss) == ("b" * 64, accuracy, loss)


def test_sequence_numbers_go_on_beyond_one_digit_and_two_versions_are_kept(tmp_path: Path) -> None:
    store = filled(tmp_path, 12)
    assert number_of(store.load()) == 12
    assert len(files(tmp_path)) == 2


def test_every_bit_of_a_weight_is_kept(tmp_path: Path) -> None:
    odd = np.array([-0.0, 1e-45, np.finfo(np.float32).max, np.pi], np.float32)
    store = PersonalStore(tmp_path, BUNDLE)
    store.save(StoredPersonal({"w": odd, "columns first": np.asfortranarray([[odd, odd]])}, 1, 0))
    found = store.load()
    assert found is not None
    assert found.weights["w"].tobytes() == odd.tobytes()
    np.testing.assert_array_equal(found.weights["columns first"], [[odd, odd]])


def test_nobody_else_may_read_the_weights(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    before = os.umask(0)
    try:
        filled(directory, 2)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_damaged_newest_file_is_set_aside_and_said_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 2)
    newest = files(tmp_path)[-1]
    damage(newest)
    content = newest.read_bytes()
    with caplog.at_level(logging.ERROR):
        assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 1
    assert newest.name in caplog.text
    assert newest.with_suffix(".damaged").read_bytes() == content
    assert not newest.exists()


def test_after_damage_the_next_save_is_the_newest_again(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    damage(files(tmp_path)[-1])
    store.load()
    store.save(stored(9))
    assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 9


def test_when_nothing_verifies_it_is_an_error_now_and_at_every_next_start(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    for path in files(tmp_path):
        damage(path)
    for _ in range(3):
        with pytest.raises(OperationError, match="can be read; restore them"):
            PersonalStore(tmp_path, BUNDLE).load()


@pytest.mark.parametrize(
    "notes",
    [{}, {"round": "three"}, {"round": "9" * 5000}, {"round": "1", "received": "much"}],
)
def test_a_file_with_notes_that_make_no_sense_is_damaged_though_its_seal_fits(
    tmp_path: Path, notes: dict[str, str]
) -> None:
    store = filled(tmp_path, 1)
    said = {"bundle": BUNDLE, "phase": "0", **notes}
    seal = sha256_hex(msgspec.json.encode(said, order="sorted"))
    save_tensors(
        tmp_path / "personal-000000002.safetensors", stored(2).weights, {**said, "seal": seal}
    )
    assert number_of(store.load()) == 1
    assert (tmp_path / "personal-000000002.damaged").exists()


def test_a_copy_that_a_person_has_put_beside_them_is_left_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    copy = tmp_path / "personal-copy.safetensors"
    copy.write_bytes(b"mine")
    assert number_of(store.load()) == 1
    store.save(stored(2))
    store.save(stored(3))
    assert number_of(store.load()) == 3
    assert copy.read_bytes() == b"mine"


def test_weights_put_back_from_a_backup_end_the_error(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    (path,) = files(tmp_path)
    backup = path.read_bytes()
    damage(path)
    with pytest.raises(OperationError):
        PersonalStore(tmp_path, BUNDLE).load()
    path.write_bytes(backup)
    assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 1


def test_weights_of_another_bundle_are_refused_and_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigurationError, match="another bundle; choose another state_dir"):
        PersonalStore(tmp_path, "b" * 64).load()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 2


def test_any_flipped_bit_costs_at_most_the_newest_save(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    newest = max(whole)

    @settings(max_examples=250, deadline=None)
    @given(st.integers(0, len(whole[newest]) - 1), st.integers(0, 7))
    def damage_one(position: int, bit: int) -> None:
        for path, content in whole.items():
            path.write_bytes(content)
        damaged = bytearray(whole[newest])
        damaged[position] ^= 1 << bit
        newest.write_bytes(damaged)
        assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 1

    damage_one()


def test_a_file_cut_anywhere_costs_at_most_the_newest_save(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    newest = files(tmp_path)[-1]
    content = newest.read_bytes()
    for end in range(0, len(content), 11):
        newest.write_bytes(content[:end])
        assert number_of(PersonalStore(tmp_path, BUNDLE).load()) == 1


def test_what_a_kill_left_of_a_save_is_removed_at_the_next_start(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    leftover = tmp_path / f"{files(tmp_path)[0].name}.partial-0123abcd"
    leftover.write_bytes(b"half")
    PersonalStore(tmp_path, BUNDLE)
    assert not leftover.exists()
    assert len(files(tmp_path)) == 1


def test_a_disk_that_refuses_is_an_operation_error_and_the_old_weights_hold(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        with pytest.raises(OperationError, match="cannot write"):
            store.save(stored(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(list(tmp_path.iterdir())) == 1
    assert number_of(store.load()) == 1


def test_a_newest_file_that_cannot_be_read_just_now_is_neither_set_aside_nor_passed_over(
    tmp_path: Path,
) -> None:
    store = filled(tmp_path, 2)
    before = files(tmp_path)
    newest = before[-1]
    content = newest.read_bytes()
    newest.unlink()
    newest.symlink_to(newest.name)  # a loop: every attempt to read it is an OSError
    with pytest.raises(OperationError, match="cannot be read"):
        store.load()
    assert newest.is_symlink()
    newest.unlink()
    newest.write_bytes(content)
    assert number_of(store.load()) == 2


def test_a_damaged_file_that_cannot_be_renamed_is_an_operation_error(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    newest = files(tmp_path)[-1]
    damage(newest)
    (newest.with_suffix(".damaged") / "in the way").mkdir(parents=True)
    with pytest.raises(OperationError, match="cannot be renamed"):
        store.load()
    assert newest.exists()


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationError, match="cannot make"):
        PersonalStore(tmp_path / "file" / "state", BUNDLE)


# A child process that saves and is killed, for good

_SAVER = """
import os, signal, sys
import numpy as np
from pathlib import Path
from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal

directory, point, size, first, last = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
store = PersonalStore(directory, "a" * 64)

def kill_at(name):
    "Kill this process in the middle of the last save, right before the system call of that name."
    original, calls = getattr(os, name), [0]
    nth = 2 if point == "fsync of the directory" else 1
    def killing(*arguments, **options):
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(os, name, killing)

for number in range(first, last + 1):
    if number == last and point != "any time":
        kill_at(point.split()[0])
    weights = {
        "front.weight": np.full((4, size), number, np.float32),
        "front.bias": np.full(4, -number, np.float32),
    }
    store.save(StoredPersonal(weights, number, number % 2))
    print(number, flush=True)
"""


def saver(directory: Path, point: str, size: int, first: int, last: int) -> subprocess.Popen[str]:
    numbers = (str(size), str(first), str(last))
    return subprocess.Popen(
        [sys.executable, "-c", _SAVER, str(directory), point, *numbers],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("point", "survives"),
    [
        ("fsync of the file", 3),
        ("replace", 3),
        ("fsync of the directory", 4),
        ("unlink of the oldest", 4),
    ],
)
def test_killed_in_the_middle_of_a_save_the_weights_are_the_last_ones_or_the_new_ones(
    tmp_path: Path, point: str, survives: int
) -> None:
    with saver(tmp_path, point, 6, 1, 4) as child:
        said, _ = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGKILL
    assert said.split() == ["1", "2", "3"]
    store = PersonalStore(tmp_path, BUNDLE)
    assert number_of(store.load()) == survives
    assert not [path for path in tmp_path.iterdir() if ".partial-" in path.name]
    store.save(stored(5))
    assert number_of(store.load()) == 5


def test_killed_at_any_time_no_finished_save_is_lost(tmp_path: Path) -> None:
    finished = 0
    for life in range(3):
        with saver(tmp_path, "any time", 100_000, finished + 1, 10**6) as child:
            assert child.stdout is not None
            for _ in range(4 + 3 * life):
                finished = int(child.stdout.readline())
            child.kill()
            rest = child.stdout.read()
        finished = int(([str(finished), *re.findall(r"\d+\n", rest)])[-1])
        found = number_of(PersonalStore(tmp_path, BUNDLE).load())
        assert found in (finished, finished + 1)
        finished = found
