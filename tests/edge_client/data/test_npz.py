import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfedfrz_edge.data import LabelledData, LocalData, load_labelled
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

SPEC = InputSpec((2, 3), 4)
X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
Y = np.array([0, 1, 3, 3, 2])


def save(tmp_path: Path, **arrays: object) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_samples_and_labels_come_back_as_they_are(tmp_path: Path) -> None:
    data = load_labelled(save(tmp_path, x=X, y=Y.astype(np.uint8)), SPEC)
    assert data.x.dtype == np.float32
    assert data.y.dtype == np.int64
    np.testing.assert_array_equal(data.x, X)
    np.testing.assert_array_equal(data.y, Y)
    assert len(data) == 5


def test_bytes_are_scaled_to_one(tmp_path: Path) -> None:
    pixels = np.arange(30, dtype=np.uint8).reshape(5, 2, 3)
    pixels[4, 1, 2] = 255
    data = load_labelled(save(tmp_path, x=pixels, y=Y), SPEC)
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x, (pixels / np.float32(255)).astype(np.float32))
    assert data.x.max() == 1.0


def test_columns_first_arrays_are_laid_out_as_runtimes_want_them(tmp_path: Path) -> None:
    data = load_labelled(save(tmp_path, x=np.asfortranarray(X), y=Y), SPEC)
    assert data.x.flags.c_contiguous
    np.testing.assert_array_equal(data.x, X)


def with_value(value: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    x = X.copy()
    x[3, 1, 1] = value
    return x


FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "no x": ({"y": Y}, "'x'"),
    "no y": ({"x": X}, "'y'"),
    "nothing": ({"z": X}, "'x'"),
    "other shape": ({"x": X.reshape(5, 3, 2), "y": Y}, "(3, 2)"),
    "flat": ({"x": X.reshape(5, 6), "y": Y}, "(6,)"),
    "a scalar": ({"x": np.float32(1), "y": Y}, "shape"),
    "fewer labels": ({"x": X, "y": Y[:4]}, "5 samples"),
    "labels as a column": ({"x": X, "y": Y[:, None]}, "(5, 1)"),
    "a scalar label": ({"x": X, "y": np.int64(1)}, "()"),
    "no sample": ({"x": X[:0], "y": Y[:0]}, "0 samples"),
    "label too large": ({"x": X, "y": Y + 1}, "1 to 4"),
    "label negative": ({"x": X, "y": Y - 1}, "-1 to 2"),
    "label beyond int64": ({"x": X, "y": np.full(5, 2**64 - 1, np.uint64)}, "labels"),
    "labels as floats": ({"x": X, "y": Y.astype(np.float32)}, "float32"),
    "labels as truth values": ({"x": X, "y": Y > 1}, "bool"),
    "labels as text": ({"x": X, "y": Y.astype(str)}, "whole numbers"),
    "float64": ({"x": X.astype(np.float64), "y": Y}, "float64"),
    "signed bytes": ({"x": X.astype(np.int8), "y": Y}, "int8"),
    "big-endian": ({"x": X.astype(">f4"), "y": Y}, ">f4"),
    "NaN": ({"x": with_value(np.nan), "y": Y}, "NaN"),
    "infinity": ({"x": with_value(-np.inf), "y": Y}, "infinite"),
    "pickled samples": ({"x": np.array([X, None], object), "y": Y}, "not a readable"),
    "pickled labels": ({"x": X, "y": np.array([{}] * 5, object)}, "not a readable"),
}


def message(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_labelled(path, SPEC)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_arrays_is_one_line_with_the_files_name(tmp_path: Path, name: str) -> None:
    arrays, says = FAULTS[name]
    assert says in message(save(tmp_path, **arrays))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "No such file" in message(tmp_path / "none.npz")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    message(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"x,y\n1,2\n", b"PK\x03\x04", b"\x80\x04N.", b"\x93NUMPY"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    message(path)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, X)
    assert "numpy.savez" in message(tmp_path / "mine.npz")


def test_an_archive_of_other_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("x", b"text")
        archive.writestr("y.npy", b"text")
    message(tmp_path / "mine.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_archive_is_refused_wherever_it_ends(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=X, y=Y)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        message(path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
@given(st.booleans(), st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_archive_gives_what_was_saved_or_one_line(
    tmp_path: Path, compressed: bool, position: int, flip: int
) -> None:
    path = tmp_path / "mine.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    try:
        data = load_labelled(path, SPEC)
    except ConfigurationError:
        message(path)
    else:
        np.testing.assert_array_equal(data.x, X)
        np.testing.assert_array_equal(data.y, Y)


def test_label_shares_are_those_of_the_training_samples() -> None:
    train = LabelledData(X, Y.astype(np.int64))
    test = LabelledData(X, np.zeros(5, np.int64))
    shares = LocalData(train, test, 6).label_shares
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.2, 0.4, 0, 0])


TOKENS = InputSpec((3,), 4, tokens=50)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_tokens_are_whole_numbers_and_never_scaled(tmp_path: Path, dtype: type) -> None:
    tokens = np.arange(15).reshape(5, 3) + 35
    data = load_labelled(save(tmp_path, x=tokens.astype(dtype), y=Y), TOKENS)
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x, tokens)


@pytest.mark.parametrize(
    ("value", "dtype", "complaint"),
    [
        (50, np.int64, "hold 50, "),
        (-1, np.int64, "hold -1, "),
        (2**40, np.int64, "from 0 to 49"),
        (1.5, np.float32, "hold 1.5, "),
        (np.nan, np.float32, "hold nan, "),
        (3, np.float64, "float64"),
    ],
)
def test_tokens_that_the_model_has_no_row_for_are_refused(
    tmp_path: Path, value: float, dtype: type, complaint: str
) -> None:
    tokens = np.zeros((5, 3), dtype)
    tokens[2, 1] = value
    with pytest.raises(ConfigurationError) as caught:
        load_labelled(save(tmp_path, x=tokens, y=Y), TOKENS)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


SQUARED, BINARY = LossSpec(LossKind.MEAN_SQUARED_ERROR), LossSpec(LossKind.BINARY_CROSS_ENTROPY)
NUMBERS = np.linspace(-3, 3, 20).reshape(5, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_as_labels_are_float32_of_every_output(tmp_path: Path, dtype: type) -> None:
    data = load_labelled(save(tmp_path, x=X, y=NUMBERS.astype(dtype)), SPEC, SQUARED)
    assert data.y.dtype == np.float32
    np.testing.assert_allclose(data.y, NUMBERS, rtol=1e-6)
    assert len(data) == 5


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_yes_and_no_as_labels_are_ones_and_zeros(tmp_path: Path, dtype: type) -> None:
    data = load_labelled(save(tmp_path, x=X, y=(NUMBERS > 0).astype(dtype)), SPEC, BINARY)
    assert data.y.dtype == np.float32
    np.testing.assert_array_equal(data.y, NUMBERS > 0)


@pytest.mark.parametrize("loss", [SQUARED, BINARY])
def test_labels_of_one_output_need_no_second_axis(tmp_path: Path, loss: LossSpec) -> None:
    one = InputSpec(SPEC.shape, 1)
    data = load_labelled(save(tmp_path, x=X, y=np.array([0, 1, 1, 0, 1])), one, loss)
    np.testing.assert_array_equal(data.y, [[0], [1], [1], [0], [1]])


@pytest.mark.parametrize(
    ("labels", "loss", "complaint"),
    [
        (NUMBERS[:, :3], SQUARED, "wants 4 for each, (5, 4)"),
        (Y, SQUARED, "labels of shape (5,)"),
        (NUMBERS[:4], SQUARED, "5 samples, but labels of shape (4, 4)"),
        (NUMBERS.astype(str), SQUARED, "save float32"),
        (NUMBERS * np.nan, SQUARED, "NaN or infinite"),
        (NUMBERS * 1e300, SQUARED, "NaN or infinite"),
        (NUMBERS, BINARY, "more than 0 and 1"),
        (NUMBERS > 0, LossSpec(), "labels of shape (5, 4)"),
    ],
)
def test_labels_of_another_loss_are_refused(
    tmp_path: Path, labels: np.ndarray, loss: LossSpec, complaint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_labelled(save(tmp_path, x=X, y=labels), SPEC, loss)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_more_than_the_machine_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x=np.zeros((500_000, 2, 3), np.float32), y=np.zeros(500_000, int))
    monkeypatch.setattr("pfedfrz_edge.data.npz.memory_of_machine", lambda: 4 << 20)
    with pytest.raises(ConfigurationError, match="it unpacks to 15 MiB, more than 4 MiB"):
        load_labelled(path, SPEC)


@pytest.mark.parametrize("shape", ["(99999999999,)", "(4294967296, 4294967296)"])
def test_an_array_that_claims_more_than_it_holds_is_refused_before_it_is_made(
    tmp_path: Path, shape: str
) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48)
    path = tmp_path / "mine.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", member)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match=r"x\.npy claims an array of \d+ bytes"):
            load_labelled(path, SPEC)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
