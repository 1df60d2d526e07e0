"""What an archive of arrays (.npz) says of its size, before anything of it is unpacked.

numpy allocates what the header of an array claims and only then looks for its content, and a zip
archive of some kilobytes may unpack to any size.
"""

from __future__ import annotations

import math
import zipfile
from typing import BinaryIO

import numpy as np

__all__ = ["require_bounded"]


def require_bounded(file: BinaryIO, most_bytes: int) -> None:
    """Raise ValueError unless all members together unpack to so many bytes at most, and every
    array's header claims no more than its member holds.

    The file is then at its beginning again; one that is no zip archive is left to numpy. Damaged
    archives raise whatever zipfile and numpy raise.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > most_bytes:
                raise ValueError(
                    f"it unpacks to {unpacked >> 20} MiB, more than {most_bytes >> 20} MiB"
                )
            for member in members:
                if member.filename.endswith(".npy"):
                    _require_honest(archive, member)
    file.seek(0)


def _require_honest(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as content:
        if content.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            return  # no array: numpy gives the bytes, and the reader says what it wanted
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        # Versions after the first differ in how names of fields are written, not in sizes.
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(content)
        claimed = math.prod(shape) * dtype.itemsize
    if claimed > member.file_size and not dtype.hasobject:
        raise ValueError(
            f"{member.filename} claims an array of {claimed} bytes, and holds {member.file_size}"
        )
