from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_emulator.datasets.own_arrays import load_own_arrays
from pfedfrz_protocol import ConfigurationError

RANDOM = np.random.default_rng(9)
PIXELS = RANDOM.integers(0, 256, (20, 4, 4), np.uint8)
LABELS = np.arange(20) % 4


def saved(directory: Path, **arrays: NDArray[Any]) -> Path:
    path = directory / "own.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def halves(**changes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "x_train": PIXELS[:12],
        "y_train": LABELS[:12],
        "x_test": PIXELS[12:],
        "y_test": LABELS[12:],
    }
    return {**arrays, **changes}


def test_a_file_with_its_own_test_set_is_taken_as_it_is(tmp_path: Path) -> None:
    loaded = load_own_arrays(saved(tmp_path, **halves()), (1, 4, 4))
    assert (loaded.train_x == PIXELS[:12, None]).all()
    assert (loaded.test_x == PIXELS[12:, None]).all()
    assert loaded.test_y.tolist() == LABELS[12:].tolist()
    assert (loaded.classes, loaded.notes) == (4, ())
    inputs = loaded.inputs(loaded.train_x)
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_without_a_test_set_a_fifth_of_every_label_is_set_apart(tmp_path: Path) -> None:
    path = saved(tmp_path, x=PIXELS, y=LABELS)
    first, second = load_own_arrays(path, None), load_own_arrays(path, None)
    assert np.bincount(first.test_y).tolist() == [1, 1, 1, 1]
    assert np.bincount(first.train_y).tolist() == [4, 4, 4, 4]
    assert (first.test_x == second.test_x).all()
    together = np.concatenate([first.train_x, first.test_x])[:, 0]
    assert sorted(map(bytes, together)) == sorted(map(bytes, PIXELS))
    assert first.notes == ("no test set in the file: 4 of 20 samples were set apart",)


def test_float_features_of_any_shape_are_not_scaled(tmp_path: Path) -> None:
    features = RANDOM.normal(size=(20, 7))
    loaded = load_own_arrays(saved(tmp_path, x=features, y=LABELS), (7,))
    assert loaded.train_x.dtype == np.float32
    assert loaded.sample_shape == (7,)
    assert (loaded.inputs(loaded.train_x) == loaded.train_x).all()


def test_gray_float_images_gain_their_channel(tmp_path: Path) -> None:
    images = RANDOM.normal(size=(20, 4, 4)).astype(np.float32)
    assert load_own_arrays(saved(tmp_path, x=images, y=LABELS), (1, 4, 4)).sample_shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"x": PIXELS}, "it holds x; want x_train, y_train, x_test, y_test, or x and y"),
        ({"a": PIXELS}, "it holds a; want"),
        ({"x": PIXELS, "y": LABELS[:-1]}, r"y has shape \(19,\); want \(20,\)"),
        ({"x": PIXELS, "y": LABELS.astype(np.float32)}, "labels are whole numbers"),
        ({"x": PIXELS, "y": LABELS - 1}, "runs from -1 to 2"),
        ({"x": PIXELS, "y": LABELS + 1}, "every label needs two"),
        ({"x": PIXELS, "y": LABELS * 1_000_000}, "without gaps"),
        ({"x": PIXELS, "y": LABELS * 0}, "have one label"),
        ({"x": PIXELS.astype(np.int32), "y": LABELS}, "x is int32; save uint8 or float32"),
        ({"x": PIXELS[0], "y": LABELS[:4]}, "uint8 pixels are"),
        ({"x": np.float32(3), "y": LABELS}, r"x has shape \(\)"),
        ({"x": PIXELS[:0], "y": LABELS[:0]}, r"x has shape \(0, 4, 4\)"),
        ({"x": np.full((20, 3), np.nan, np.float32), "y": LABELS}, "NaN"),
        ({"x": np.full((20, 3), 1e300), "y": LABELS}, "beyond float32"),
        (halves(y_test=LABELS[12:] + 3), "test label 6 has no training sample"),
        (halves(y_train=LABELS[:12] // 2 * 2), "no training sample has label 1"),
        (halves(x_test=PIXELS[12:].astype(np.float32)), "differ in shape or element type"),
        (halves(x_test=PIXELS[12:, :2]), "differ in shape or element type"),
    ],
)
def test_a_fault_is_named_with_the_file(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault) as caught:
        load_own_arrays(saved(tmp_path, **arrays), None)
    assert "own.npz" in str(caught.value)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.array([{}, {}], dtype=object), y=np.array([0, 1]))
    with pytest.raises(ConfigurationError, match="not a readable"):
        load_own_arrays(path, None)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 not quite"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"own\.npz: not a readable \.npz file"):
        load_own_arrays(path, None)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.npz: .*No such file"):
        load_own_arrays(tmp_path / "absent.npz", None)


def test_features_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=RANDOM.normal(size=(20, 7)), y=LABELS)
    with pytest.raises(ConfigurationError, match="float features are not resized"):
        load_own_arrays(path, (1, 28, 28))


@pytest.mark.parametrize("name", ["encrypted", "no-array", "header"])
def test_archive_whose_members_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, x=np.zeros((6, 2), np.float32), y=np.array([0, 1, 2, 0, 1, 2]))
    content = path.read_bytes()
    if name == "encrypted":
        flags = content.index(b"PK\x01\x02") + 8
        path.write_bytes(content[:flags] + b"\x01" + content[flags + 1 :])
    else:
        member = b"hello" if name == "no-array" else b"\x93NUMPY\x01\x00\x05\x00((((("
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", member)
            archive.writestr("y.npy", member)
    with pytest.raises(ConfigurationError, match=r"own\.npz: not a readable \.npz file"):
        load_own_arrays(path, None)
