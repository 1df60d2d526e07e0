"""Archives of arrays (.npz): a device's samples, one's own dataset, a split by rows."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
from recipe import Recipe, scratch

from pfedfrz_edge.data import load_labelled
from pfedfrz_emulator.datasets.own_arrays import load_own_arrays
from pfedfrz_emulator.splits.from_file import FileSplit
from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec

SPECS = (
    (InputSpec((2,), 3), LossSpec()),
    (InputSpec((2,), 3, tokens=9), LossSpec()),
    (InputSpec((2,), 1), LossSpec(LossKind.MEAN_SQUARED_ERROR)),
    (InputSpec((2,), 2), LossSpec(LossKind.BINARY_CROSS_ENTROPY)),
)
LABELS = np.arange(12) % 3


def _header(text: str, data: bytes = b"") -> bytes:
    """An .npy file with this text as its header, whatever it says."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) & 0xFFFF) + text.encode() + data


def _archive(recipe: Recipe, form: int) -> bytes:
    """As it is, or with the rest as one of the members, whose checksum then fits."""
    if not form & 1:
        return recipe.rest()
    member = recipe.rest()
    other = io.BytesIO()
    np.save(other, LABELS[:4])
    names = (("x", "y"), ("y", "x"), ("owner",), ("x_train", "y_train", "x_test", "y_test"))[
        form >> 1 & 3
    ]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for place, name in enumerate(names):
            archive.writestr(f"{name}.npy", member if not place else other.getvalue())
    return stream.getvalue()


def target(data: bytes) -> None:
    """Every reader says what is wrong, and is done soon."""
    recipe = Recipe(data)
    form = recipe.number()
    path = scratch() / "arrays.npz"
    path.write_bytes(_archive(recipe, form))
    for spec, loss in SPECS:
        try:
            loaded = load_labelled(path, spec, loss)
            assert np.isfinite(loaded.x).all() and len(loaded.x) == len(loaded.y) > 0
        except ConfigurationError as error:
            assert "\n" not in str(error)
    for read in (
        lambda: load_own_arrays(path, None),
        lambda: FileSplit(str(path)).split_labels(LABELS, 2, 5, 3, 0),
    ):
        try:
            read()
        except ConfigurationError:
            pass


def _npz(kind: int = zipfile.ZIP_STORED, **members: object) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, value in members.items():
            content = io.BytesIO()
            if isinstance(value, bytes):
                content.write(value)
            else:
                np.save(content, np.asarray(value))
            archive.writestr(f"{name}.npy", content.getvalue())
    return stream.getvalue()


def _npy(value: object) -> bytes:
    content = io.BytesIO()
    np.save(content, np.asarray(value))
    return content.getvalue()


def seeds() -> dict[str, bytes]:
    x, y = np.ones((6, 2), np.float32), np.arange(6) % 3
    good = _npz(x=x, y=y)
    raws = {
        "good": good,
        "split": _npz(x_train=x, y_train=y, x_test=x, y_test=y),
        "pixels": _npz(x=np.zeros((6, 4, 4), np.uint8), y=y),
        "owner": _npz(owner=np.arange(12) % 2),
        "numbers": _npz(x=x, y=np.ones((6, 1), np.float32)),
        "truncated": good[:-30],
        "deflate-bomb": _npz(zipfile.ZIP_DEFLATED, x=np.zeros((1 << 20, 2), np.float32), y=y),
        "bzip2": _npz(zipfile.ZIP_BZIP2, x=x, y=y),
        "lzma": _npz(zipfile.ZIP_LZMA, x=x, y=y),
        "damaged-deflate": _npz(zipfile.ZIP_DEFLATED, x=np.arange(100), y=y)[:60]
        + b"\xff" * 20
        + _npz(zipfile.ZIP_DEFLATED, x=np.arange(100), y=y)[80:],
        "encrypted": good.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "object": _npz(x=np.array([{}, "a"], dtype=object), y=y),
        "nan": _npz(x=np.full((6, 2), np.nan, np.float32), y=y),
        "not-npy": _npz(x=b"hello", y=y),
        "empty": b"",
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
        "not-zip": b"PK\x03\x04" + bytes(50),
        "duplicated-members": good + good,
    }  # fmt: skip
    found = {f"raw-{name}": b"\x00" + data for name, data in raws.items()}
    form = "{'descr': %s, 'fortran_order': False, 'shape': %s, }"
    headers = {
        "huge-shape": form % ("'<f4'", "(4294967296, 4294967296)"),
        "huge-one": form % ("'<f4'", "(99999999999,)"),
        "negative-shape": form % ("'<f4'", "(-6, -2)"),
        "many-extents": form % ("'<f4'", "(" + "1," * 70 + ")"),
        "overflowing": form % ("'<f4'", "(" + "9" * 5000 + ",)"),
        "no-width": form % ("'V0'", "(9999999999,)"),
        "text": form % ("'<U9999999'", "(3,)"),
        "dates": form % ("'<M8[ns]'", "(6,)"),
        "complex": form % ("'<c16'", "(6, 2)"),
        "records": form % ("[('a', '<f4'), ('a', '<f4')]", "(2,)"),
        "bad-dtype": form % ("'zz'", "(6, 2)"),
        "deep": "(" * 3000,
        "deep-dtype": form % ("[" * 150 + "]" * 150, "(1,)"),
        "no-dict": "[]",
        "unclosed": "{'descr': '<f4",
        "bool-shape": form % ("'<f4'", "(True, True)"),
        "foreign-digits": form % ("'<f4'", "(٦, ٢)"),
        "nul": "{\x00}",
        "backslash": "{'\\N{x}': 1}",
    }
    for name, text in headers.items():
        found[f"member-{name}"] = b"\x01" + _header(text, bytes(48))
    found["member-good"] = b"\x01" + _npy(x)
    found["member-labels"] = b"\x03" + _npy(y)
    found["member-owner"] = b"\x05" + _npy(np.arange(12) % 2)
    found["member-owner-huge"] = b"\x05" + _npy(np.array([2**63 - 1] * 12))
    found["member-train"] = b"\x07" + _npy(np.zeros((4, 3, 3), np.uint8))
    found["member-version"] = b"\x01\x93NUMPY\x03\x00\xff\xff\xff\xff{}"
    found["member-infinite"] = b"\x01" + _npy(np.full((4, 2), 1e300))
    return found
