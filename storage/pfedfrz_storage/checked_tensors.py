"""Float32 tensors in a safetensors file that knows its own digest.

Safetensors itself has no checksum; a flipped bit in a weight would go unnoticed. The digest of the
tensors is kept in the file's metadata, beside whatever the writer wants to remember.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from pfedfrz_protocol import OperationError, Parameters, tensors_digest

from .atomic import write_atomically

__all__ = ["DamagedFile", "load_tensors", "save_tensors"]

_DIGEST = "pfedfrz.digest"
_FAULTS = (
    SafetensorError, struct.error, ValueError, KeyError, AttributeError, TypeError, RecursionError,
)  # fmt: skip
"""What json and safetensors raise of bytes that are not theirs."""


class DamagedFile(OperationError):
    """A file of weights whose content is not what was written."""


def save_tensors(
    path: Path,
    tensors: Mapping[str, NDArray[np.float32]],
    metadata: Mapping[str, str],
    *,
    mode: int = 0o644,
) -> None:
    """Write float32 tensors and string metadata to `path`, durably and whole."""
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    notes = {**metadata, _DIGEST: tensors_digest(arrays)}
    write_atomically(path, safetensors.numpy.save(arrays, notes), mode=mode)


def load_tensors(path: Path) -> tuple[Parameters, dict[str, str]]:
    """Tensors and metadata of a file that `save_tensors` wrote.

    Raises DamagedFile when what is in it does not verify, and another OperationError when it
    cannot be read now: that says nothing about what is in it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        (length,) = struct.unpack_from("<Q", data)
        notes = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        tensors = safetensors.numpy.load(data)
    except _FAULTS as error:
        raise DamagedFile(f"{path} is damaged: {error}") from error
    if any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise DamagedFile(f"{path} is damaged: it holds tensors that are not float32")
    if notes.pop(_DIGEST, None) != tensors_digest(tensors):
        raise DamagedFile(f"{path} is damaged: its weights are not the ones that were written")
    return tensors, notes
