"""The model in use on the disk: whole, verified, and of the right bundle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pfedfrz_edge.model_store import KeptModel, ModelStore
from pfedfrz_protocol import ConfigurationError, OperationError

BUNDLE, OTHER = "b" * 64, "c" * 64


def model(number: int) -> KeptModel:
    """Both groups hold the round's number, so that a mix of two would show."""
    weights = {name: np.full((300,), number, np.float32) for name in ("front", "head")}
    return KeptModel(weights, number, f"{number:064x}")


def store(directory: Path, *numbers: int) -> ModelStore:
    made = ModelStore(directory, BUNDLE)
    for number in numbers:
        made.save(model(number))
    return made


def test_before_the_first_training_there_is_none(tmp_path: Path) -> None:
    assert store(tmp_path).load() is None
    assert ModelStore(tmp_path / "nowhere", BUNDLE).load() is None


def test_the_last_one_comes_back_bit_for_bit_and_two_are_kept(tmp_path: Path) -> None:
    found = store(tmp_path, 1, 2, 3).load()
    assert found is not None
    assert (found.model.round, found.model.base, found.damaged) == (3, model(3).base, ())
    for name, weight in model(3).weights.items():
        np.testing.assert_array_equal(found.model.weights[name], weight)
    files = sorted(tmp_path.iterdir())
    assert [path.name[:15] for path in files] == ["model-000000002", "model-000000003"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_one_is_told_left_where_it_is_and_the_one_before_is_used(
    tmp_path: Path,
) -> None:
    made = store(tmp_path, 1, 2)
    newest = tmp_path / "model-000000002.safetensors"
    flip(newest, -5)
    found = made.load()
    assert found is not None
    assert found.model.round == 1
    (fault,) = found.damaged
    assert "model-000000002.safetensors is damaged" in fault
    assert newest.exists()
    flip(tmp_path / "model-000000001.safetensors", -5)
    with pytest.raises(OperationError, match=r"is damaged.*the next round that is trained"):
        made.load()
    made.save(model(3))
    again = made.load()
    assert again is not None
    assert again.model.round == 3


def test_changed_notes_are_damage(tmp_path: Path) -> None:
    made = store(tmp_path, 7)
    path = tmp_path / "model-000000001.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"round":"7"', b'"round":"8"'))
    with pytest.raises(OperationError, match="not the ones that were written"):
        made.load()


def test_a_model_of_another_bundle_is_refused_until_one_of_this_is_there(tmp_path: Path) -> None:
    store(tmp_path, 1)
    other = ModelStore(tmp_path, OTHER)
    with pytest.raises(ConfigurationError, match="is a model of another bundle"):
        other.load()
    other.save(model(2))
    found = other.load()
    assert found is not None
    assert found.model.round == 2


WRITER = """
import sys
from pathlib import Path
import numpy as np
from pfedfrz_edge.model_store import KeptModel, ModelStore
store, number = ModelStore(Path(sys.argv[1]), "b" * 64), 0
while True:
    number += 1
    weights = {n: np.full((300,), number, np.float32) for n in ("front", "head")}
    store.save(KeptModel(weights, number, "0" * 64))
    print(number, flush=True)
"""


def test_read_beside_a_writer_that_is_killed_it_is_always_one_whole_training(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "1\n"
        made, last = ModelStore(tmp_path, BUNDLE), 0
        for _ in range(40):
            found = made.load()
            assert found is not None
            assert found.damaged == ()
            assert last <= found.model.round
            last = found.model.round
            for weight in found.model.weights.values():
                np.testing.assert_array_equal(weight, np.float32(last))
        os.kill(writer.pid, signal.SIGKILL)
        told = max(map(int, ["1", *writer.stdout.read().split()]))
    found = made.load()
    assert found is not None
    assert found.model.round in (told, told + 1)
