"""The idx format of MNIST and its relatives, read strictly.

    0x00 0x00 TYPE NDIM | NDIM big-endian uint32 extents | data in C order

TYPE is 0x08 (unsigned byte) in every dataset read here. The length of the data has to be exactly
the product of the extents: these files come from mirrors and caches, and a short one must not
become a dataset with fewer images.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

__all__ = ["MAX_IDX_BYTES", "gunzip", "parse_idx", "read_idx"]

MAX_IDX_BYTES = 1 << 30
"""Largest content that is read or unpacked; the largest published file of the kind has 550 MB."""

_UNSIGNED_BYTE = 0x08
_MAX_DIMENSIONS = 4
_BLOCK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def parse_idx(data: bytes, file: str, dimensions: int) -> NDArray[np.uint8]:
    """The uint8 array in an idx file's content, read-only, with `dimensions` dimensions.

    `file` is the name that ConfigurationError gives together with the fault.
    """
    if len(data) < 4:
        raise _fault(file, f"{len(data)} bytes are too few for an idx header")
    zeros, kind, ndim = struct.unpack_from(">HBB", data)
    if zeros != 0:
        raise _fault(file, "it does not start with the two zero bytes of an idx file")
    if kind != _UNSIGNED_BYTE:
        raise _fault(file, f"element type 0x{kind:02x}; only unsigned bytes (0x08) are read")
    if ndim != dimensions or ndim > _MAX_DIMENSIONS:
        raise _fault(file, f"{ndim} dimensions where {dimensions} are expected")
    offset = 4 + 4 * ndim
    if len(data) < offset:
        raise _fault(file, "it ends within the header")
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    if 0 in shape:
        raise _fault(file, f"an empty array {shape}")
    expected = math.prod(shape)
    if len(data) - offset != expected:
        raise _fault(
            file, f"shape {shape} needs {expected} bytes of data, the file has {len(data) - offset}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=offset).reshape(shape)


def gunzip(data: bytes, file: str, max_bytes: int = MAX_IDX_BYTES) -> bytes:
    """The unpacked content of gzip data, at most `max_bytes` of it; else ConfigurationError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as archive:
            # In blocks: what one read is allowed to return, it allocates beforehand.
            blocks: list[bytes] = []
            left = max_bytes + 1
            while left and (block := archive.read(min(left, _BLOCK_BYTES))):
                blocks.append(block)
                left -= len(block)
    except (OSError, EOFError, zlib.error) as error:
        raise _fault(file, f"the gzip data is damaged: {error}") from error
    if not left:
        raise _fault(file, f"it unpacks to more than {max_bytes} bytes")
    return b"".join(blocks)


def read_idx(path: Path) -> bytes:
    """The content of an idx or idx.gz file, unpacked; ConfigurationError names file and fault."""
    try:
        if path.stat().st_size > MAX_IDX_BYTES:
            raise _fault(str(path), f"it is larger than {MAX_IDX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise _fault(str(path), error.strerror or str(error)) from error
    return gunzip(data, str(path)) if data.startswith(_GZIP_MAGIC) else data


def _fault(file: str, detail: str) -> ConfigurationError:
    return ConfigurationError(f"{file}: {detail}")
