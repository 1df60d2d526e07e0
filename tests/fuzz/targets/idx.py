"""The idx files of MNIST and its kin: plain, packed, and in archives."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import numpy as np
from recipe import Recipe, scratch

from pfedfrz_emulator.datasets.emnist_files import EmnistFile, find_files
from pfedfrz_emulator.datasets.idx import gunzip, parse_idx
from pfedfrz_emulator.datasets.npm import NpmPackage
from pfedfrz_emulator.datasets.published import PublishedFile, SourceUnavailable
from pfedfrz_protocol import ConfigurationError

LIMIT = 1 << 20
PLAIN, PACKED, ZIP, MEMBER, TAR, TAR_MEMBER = range(6)
FILE = EmnistFile("f", "0" * 64, (2, 3))
PUBLISHED = PublishedFile("f", "0" * 64, 2)


def target(data: bytes) -> None:
    """The first byte is the kind of file; what is unpacked stays inside its bound."""
    recipe = Recipe(data)
    form = recipe.number() % 6
    body = recipe.rest()
    if form == MEMBER:
        body = _zip(body)
    elif form == TAR_MEMBER:
        body = gzip.compress(body, 1)
    path = scratch() / "file"
    try:
        if form == PLAIN:
            assert parse_idx(body, "it", body[3] if len(body) > 3 else 1).dtype == np.uint8
        elif form == PACKED:
            assert len(gunzip(body, "it", LIMIT)) <= LIMIT
        elif form in (ZIP, MEMBER):
            path.write_bytes(body)
            find_files(path, [FILE])
        else:
            path.write_bytes(body)
            NpmPackage("x")._read(path, [PUBLISHED])
    except (ConfigurationError, SourceUnavailable):
        pass


def _zip(content: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr("gzip/f.gz", content)
    return stream.getvalue()


def _tar(name: str, content: bytes, pax: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        member.pax_headers = pax or {}
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    plain = b"\x00\x00\x08\x02\x00\x00\x00\x02\x00\x00\x00\x03abcdef"
    packed = gzip.compress(plain)
    member = _tar("package/data/f", plain)
    link = tarfile.TarInfo("package/data/f")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    found = {
        "plain": (PLAIN, plain),
        "truncated": (PLAIN, plain[:-1]),
        "huge-extents": (PLAIN, b"\x00\x00\x08\x04" + b"\xff" * 16),
        "no-extents": (PLAIN, b"\x00\x00\x08\x00a"),
        "many-extents": (PLAIN, b"\x00\x00\x08\xff" + bytes(255 * 4)),
        "empty-extent": (PLAIN, b"\x00\x00\x08\x01" + bytes(4)),
        "floats": (PLAIN, b"\x00\x00\x0d\x01\x00\x00\x00\x01abcd"),
        "packed": (PACKED, packed),
        "gzip-bomb": (PACKED, gzip.compress(bytes(8 << 20))),
        "gzip-truncated": (PACKED, packed[:-9]),
        "gzip-wrong-checksum": (PACKED, packed[:-8] + bytes(8)),
        "gzip-members": (PACKED, gzip.compress(b"") * 500),
        "gzip-flags": (PACKED, packed[:3] + b"\xff" + packed[4:]),
        "zip": (ZIP, _zip(packed)),
        "zip-bomb": (ZIP, _zip(bytes(8 << 20), zipfile.ZIP_DEFLATED)),
        "zip-bzip2": (ZIP, _zip(packed, zipfile.ZIP_BZIP2)),
        "zip-lzma": (ZIP, _zip(packed, zipfile.ZIP_LZMA)[:-90] + _zip(packed, zipfile.ZIP_LZMA)[-90:]),
        "zip-encrypted": (ZIP, _zip(packed).replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")),
        "zip-truncated": (ZIP, _zip(packed)[:-30]),
        "member": (MEMBER, packed),
        "member-plain": (MEMBER, plain),
        "member-bomb": (MEMBER, gzip.compress(bytes(8 << 20))),
        "tar": (TAR, gzip.compress(member)),
        "tar-bomb": (TAR, gzip.compress(member + bytes(8 << 20))),
        "tar-truncated": (TAR, gzip.compress(member)[:-20]),
        "tar-member": (TAR_MEMBER, member),
        "tar-link": (TAR_MEMBER, link.tobuf() + bytes(1024)),
        "tar-huge": (TAR_MEMBER, _huge_tar()),
        "tar-pax": (TAR_MEMBER, _tar("package/data/f", plain, {"size": "-5", "comment": "é"})),
        "tar-pax-size": (TAR_MEMBER, _tar("package/data/f", plain, {"size": "9" * 30})),
        "tar-sparse": (TAR_MEMBER, _tar("package/data/f", plain, {"GNU.sparse.size": "x", "GNU.sparse.map": "1,2,x"})),
        "tar-path": (TAR_MEMBER, _tar("../../etc/passwd", plain)),
    }  # fmt: skip
    return {name: bytes([form]) + body for name, (form, body) in found.items()}


def _huge_tar() -> bytes:
    """A member that says that it has 8 GiB, with nothing behind it."""
    member = tarfile.TarInfo("package/data/f")
    member.size = 8 << 30
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
