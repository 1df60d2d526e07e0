"""Checked tensors and the personal store over them: as they come, and vouched for."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from recipe import Recipe, scratch

from pfedfrz_edge.personal_store import PersonalStore, StoredPersonal
from pfedfrz_emulator.attacks.collusion import _read as read_of_fellow
from pfedfrz_protocol import (
    ConfigurationError,
    OperationError,
    sha256_hex,
    tensors_digest,
)
from pfedfrz_storage import DamagedFile, load_tensors, save_tensors
from targets import tensors

BUNDLE = "0" * 64
RAW, DIGESTED, SEALED, STORE = range(4)


def _vouched(data: bytes, notes: dict[str, str] | None) -> bytes:
    """The tensors with a digest that fits, and with sealed notes, if they can be read at all."""
    try:
        arrays = safetensors.numpy.load(data)
        metadata = {"pfedfrz.digest": tensors_digest(arrays)}
        if notes is not None:
            seal = sha256_hex(msgspec.json.encode(notes, order="sorted"))
            metadata |= {**notes, "seal": seal}
        return safetensors.numpy.save(arrays, metadata)
    except Exception:
        return data


def _content(recipe: Recipe) -> tuple[int, bytes]:
    form = recipe.number() % 4
    if form == RAW:
        return form, recipe.rest()
    if form == DIGESTED:
        return form, _vouched(recipe.rest(), None)
    try:
        given = json.loads(recipe.rest())
        notes = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
        return form, _vouched(safetensors.numpy.save(tensors.BASE), {"bundle": BUNDLE} | notes)
    except (ValueError, RecursionError, UnicodeError):
        return form, b""


def target(data: bytes) -> None:
    """A file is read, or damaged; a store says so in one of its words."""
    form, content = _content(Recipe(data))
    folder = scratch() / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "personal-000000001.safetensors"
    path.write_bytes(content)
    if form in (RAW, DIGESTED):
        try:
            arrays, notes = load_tensors(path)
        except DamagedFile:
            pass
        else:
            assert all(array.dtype == np.float32 for array in arrays.values())
            assert all(isinstance(note, str) for note in notes.values())
        read_of_fellow(path)
    if data and data[0] & 0x80:
        (folder / "personal-x.safetensors").write_bytes(content)
    store = PersonalStore(folder, BUNDLE)
    try:
        stored = store.load()
    except (OperationError, ConfigurationError):
        return
    if stored is not None:
        store.save(stored)


def _file(tensors_: dict[str, np.ndarray]) -> bytes:
    path = Path(scratch() / "seed.safetensors")
    save_tensors(path, tensors_, {"bundle": BUNDLE})
    return path.read_bytes()


def seeds() -> dict[str, bytes]:
    found = {f"raw-{name}": bytes([RAW]) + body for name, body in tensors.bodies().items()}
    for name in ("bfloat16", "halves", "bool", "not-a-number", "good"):
        found[f"digested-{name}"] = bytes([DIGESTED]) + tensors.bodies()[name]
    good = _file(tensors.BASE)
    found["saved"] = bytes([RAW]) + good
    found["flipped"] = bytes([RAW]) + good[:-2] + b"\x55" + good[-1:]
    path = scratch() / "made"
    shutil.rmtree(path, ignore_errors=True)
    PersonalStore(path, BUNDLE).save(StoredPersonal(tensors.BASE, 3, 1, "0" * 64, 0.5, 1.5))
    found["stored"] = bytes([RAW | 0x80]) + next(path.glob("personal-*")).read_bytes()
    notes = {
        "good": {"round": "3", "phase": "1", "received": "0.5"},
        "no-round": {"phase": "1"},
        "no-number": {"round": "three", "phase": "1"},
        "foreign-digits": {"round": "١", "phase": "1"},
        "huge-number": {"round": "9" * 5000, "phase": "1"},
        "nan": {"round": "1", "phase": "1", "received": "nan"},
        "no-float": {"round": "1", "phase": "1", "received": "much"},
        "surrogate": {"round": "1", "phase": "1", "x": "\ud800"},
        "other-bundle": {"round": "1", "phase": "1", "bundle": "1" * 64},
    }
    for name, said in notes.items():
        found[f"sealed-{name}"] = bytes([SEALED]) + json.dumps(said).encode()
    header = b'{"__metadata__":' + b"[" * 1500 + b"]" * 1500 + b"}"
    found["deep-metadata"] = bytes([RAW]) + struct.pack("<Q", len(header)) + header
    return found
