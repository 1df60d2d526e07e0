"""The bundle archive: a stored zip with a manifest, initial weights and graphs.

Reading is strict and bounded: only the files that the manifest names, with the sizes and digests
that it states, none of them outside the archive, nothing compressed and nothing unpickled.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from .errors import BundleError
from .manifest import FileRecord, Manifest, decode_manifest, encode_manifest, sha256_hex
from .partition import Group, TensorSpec
from .schedule import copy_name

__all__ = ["MAX_BUNDLE_BYTES", "Bundle", "Parameters", "read_bundle", "write_bundle"]

Parameters = dict[str, NDArray[np.float32]]
"""float32 arrays by parameter name."""

MAX_BUNDLE_BYTES = 256 << 20
"""What may be offered over the network; a bundle that is copied by hand may be larger."""
MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 8 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time stamp: the same content gives the same bytes


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory: the manifest and the content of every file that it names."""

    manifest: Manifest
    files: Mapping[str, bytes]

    def content(self, record: FileRecord) -> bytes:
        """The checked content of one file."""
        return self.files[record.file]

    def initial_weights(self, group: Group) -> Parameters:
        """Fresh float32 arrays of one group's initial weights, by name."""
        record = self.manifest.weights[group]
        return _decode_weights(record, self.files[record.file], self.manifest.layout(group))

    def initial_personal(self) -> Parameters:
        """What a device begins with and keeps to itself, fresh float32 arrays by name.

        The personal group, and where the schedule keeps one the copy of the shared weights.
        """
        weights = self.initial_weights(Group.PERSONAL)
        if self.manifest.schedule.keeps_copy:
            shared = self.initial_weights(Group.SHARED)
            weights.update({copy_name(name): array for name, array in shared.items()})
        return weights


def write_bundle(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """The archive as bytes; the same manifest and files always give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST_FILE, _EPOCH), encode_manifest(manifest))
        for record in manifest.files():
            archive.writestr(zipfile.ZipInfo(record.file, _EPOCH), files[record.file])
    return stream.getvalue()


def read_bundle(data: bytes, source: str) -> Bundle:
    """The bundle in `data`; BundleError, naming `source`, when anything does not fit."""
    try:
        return _read(data)
    except BundleError as error:
        raise BundleError(f"{source}: {error}; copy or export the bundle again") from error
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError, EOFError) as error:
        # RuntimeError: what is encrypted, and what this Python's zipfile has not implemented.
        raise BundleError(
            f"{source}: not a pfedfrz bundle ({error}); copy it again, or make one with "
            "`pfedfrz export`"
        ) from error


def _read(data: bytes) -> Bundle:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise BundleError("two files in the archive have the same name")
        packed = [i.filename for i in entries.values() if i.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise BundleError(f"{packed[0]!r} is compressed, a bundle stores its files as they are")
        manifest = decode_manifest(_member(archive, entries, MANIFEST_FILE, MAX_MANIFEST_BYTES))
        records = manifest.files()
        strangers = set(entries) - {MANIFEST_FILE} - {record.file for record in records}
        if strangers:
            raise BundleError(f"{sorted(strangers)[0]!r} is not named in the manifest")
        files: dict[str, bytes] = {}
        for record in records:
            content = _member(archive, entries, record.file, record.bytes)
            if len(content) != record.bytes or sha256_hex(content) != record.sha256:
                raise BundleError(f"{record.file!r} is damaged: its sha256 is not the manifest's")
            files[record.file] = content
    bundle = Bundle(manifest, files)
    for group in Group:
        bundle.initial_weights(group)
    return bundle


def _member(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], name: str, limit: int
) -> bytes:
    if name not in entries:
        raise BundleError(f"{name!r} is missing")
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise BundleError(f"{name!r} is not a plain path inside the archive")
    if entries[name].file_size > limit:
        raise BundleError(f"{name!r} is larger than its bound of {limit} bytes")
    with archive.open(name) as member:
        return member.read(limit + 1)


def _decode_weights(
    record: FileRecord, content: bytes, layout: tuple[TensorSpec, ...]
) -> Parameters:
    try:
        tensors = safetensors.numpy.load(content)
    except (SafetensorError, msgspec.MsgspecError, ValueError, KeyError) as error:
        raise BundleError(f"{record.file!r} is not safetensors: {error}") from error
    if set(tensors) != {spec.name for spec in layout}:
        raise BundleError(f"{record.file!r} does not hold the tensors of its group")
    for spec in layout:
        array = tensors[spec.name]
        if array.shape != spec.shape or array.dtype != np.float32:
            raise BundleError(
                f"{record.file!r}: {spec.name!r} is {array.dtype} {array.shape}, "
                f"the manifest says float32 {spec.shape}"
            )
    return {spec.name: tensors[spec.name] for spec in layout}
