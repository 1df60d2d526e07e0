"""Bundle archives: the zip as it comes, and archives whose records fit what was changed."""

from __future__ import annotations

import io
import struct
import zipfile

import msgspec
import tiny_bundle
from recipe import Recipe

from pfedfrz_protocol import (
    BundleError,
    FileRecord,
    Group,
    read_bundle,
    sha256_hex,
    write_bundle,
)
from targets import tensors

BUNDLE = tiny_bundle.make_bundle()
GOOD = write_bundle(BUNDLE.manifest, BUNDLE.files)
RAW, WEIGHTS, NAME, MANIFEST = range(4)


def _archive(recipe: Recipe) -> bytes:
    form = recipe.number() % 4
    rest = recipe.rest()
    if form == RAW:
        return rest
    manifest, files = BUNDLE.manifest, dict(BUNDLE.files)
    if form == WEIGHTS:  # any weights, with a record that vouches for them
        record = manifest.weights[Group.SHARED]
        files[record.file] = rest
        new = FileRecord(record.file, len(rest), sha256_hex(rest))
        weights = {**manifest.weights, Group.SHARED: new}
        return write_bundle(msgspec.structs.replace(manifest, weights=weights), files)
    stream = io.BytesIO()
    content = msgspec.json.encode(manifest)
    if form == NAME:
        name = rest.decode("utf-8", "replace")
        content = content.replace(b"onnx/predict.onnx", msgspec.json.encode(name)[1:-1])
        files[name] = files.pop("onnx/predict.onnx")
    else:
        content = rest
    with zipfile.ZipFile(stream, "w") as archive:
        for file, data in {"manifest.json": content, **files}.items():
            archive.writestr(zipfile.ZipInfo(file), data)
    return stream.getvalue()


def target(data: bytes) -> None:
    """A bundle that is read holds what its manifest says."""
    try:
        archive = _archive(Recipe(data))
    except (ValueError, UnicodeError, struct.error, OSError):
        return  # no name that zipfile can write
    try:
        bundle = read_bundle(archive, "it")
    except BundleError as error:
        assert str(error).startswith("it: ")
        return
    for record in bundle.manifest.files():
        assert len(bundle.content(record)) == record.bytes
        assert ".." not in record.file.split("/") and not record.file.startswith("/")


def _zipped(entries: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
    import warnings

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(stream, "w", kind) as archive:
            for name, content in entries:
                archive.writestr(zipfile.ZipInfo(name), content, kind)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    manifest = BUNDLE.files
    content = zipfile.ZipFile(io.BytesIO(GOOD)).read("manifest.json")
    every = [("manifest.json", content), *manifest.items()]
    end = GOOD.rindex(b"PK\x05\x06")
    raws = {
        "good": GOOD,
        "truncated": GOOD[: len(GOOD) // 2],
        "no-directory": GOOD[:end],
        "zip-bomb": _zipped([("manifest.json", bytes(32 << 20))], zipfile.ZIP_DEFLATED),
        "bzip2-bomb": _zipped([("manifest.json", bytes(32 << 20))], zipfile.ZIP_BZIP2),
        "lzma-bomb": _zipped([("manifest.json", bytes(8 << 20))], zipfile.ZIP_LZMA),
        "duplicated-entry": _zipped([*every, every[1]]),
        "stranger": _zipped([*every, ("stranger", b"x")]),
        "slip": _zipped([*every, ("../../etc/cron.d/evil", b"x")]),
        "absolute": _zipped([*every, ("/etc/passwd", b"x")]),
        "many-entries": _zipped([(f"{n}", b"") for n in range(300)]),
        "wrong-digest": GOOD.replace(BUNDLE.files["onnx/predict.onnx"], b"tciderp"),
        "directory-offset": GOOD[: end + 16] + b"\xff\xff\xff\x7f" + GOOD[end + 20 :],
        "directory-size": GOOD[: end + 12] + b"\xff\xff\xff\xff" + GOOD[end + 16 :],
        "encrypted": GOOD.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
        "local-offset": GOOD[: end - 17] + b"\xf0\xff\xff\xff" + GOOD[end - 13 :],
        "zip64": _zip64_claims(),
        "empty": b"",
        "prepended": b"MZ" + GOOD,
        "foreign-names": _zipped([*every, ("\u202eexe.json", b"x"), ("١", b"x")]),
        "deep-manifest": _zipped([("manifest.json", b"[" * 1500)]),
    }  # fmt: skip
    found = {f"raw-{name}": bytes([RAW]) + data for name, data in raws.items()}
    for name, body in tensors.bodies().items():
        found[f"weights-{name}"] = bytes([WEIGHTS]) + body
    for number, name in enumerate(
        ("../x", "/x", "a\\b", "a/../../b", "a/./b", "", ".", "manifest.json", "\u202ex", "a" * 300)
    ):
        found[f"path-{number}"] = bytes([NAME]) + name.encode()
    found["manifest"] = bytes([MANIFEST]) + content
    return found


def _zip64_claims() -> bytes:
    """An archive whose zip64 end record claims a directory at the end of the world."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 2**63 - 1, 2**63 - 1)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return record + locator + tail
