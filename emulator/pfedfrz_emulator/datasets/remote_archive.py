"""Single members of a large zip archive on a web server, without the rest of it.

The archive's directory stands at its end and says where each member begins, so that a few range
requests fetch what is wanted: 30 of EMNIST's 560 MB for one of its datasets. What has come of a
member is kept in a `.part` file and gone on with, in the same run after a broken connection, or in
a later one. A member counts when its length and its CRC-32 are those of the archive's directory.
"""

from __future__ import annotations

import http.client
import io
import struct
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import OperationError
from pfedfrz_storage import write_atomically

from .mirror import describe_failure
from .published import SourceUnavailable

__all__ = ["Progress", "RemoteArchive"]

Progress = Callable[[str, int, int], None]
"""(member, bytes that are here, bytes of the whole) while a member is fetched."""

_BLOCK_BYTES = 1 << 18
_DIRECTORY_BLOCK_BYTES = 1 << 16
_MAX_MEMBER_BYTES = 1 << 30
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_MAGIC = b"PK\x03\x04"


def _nothing(_member: str, _done: int, _whole: int) -> None:
    return


@dataclass(frozen=True)
class RemoteArchive:
    """A zip archive at `url`, on a server that answers range requests."""

    url: str
    directory: Path
    """Where members, and parts of them, are kept."""
    progress: Progress = _nothing
    timeout_s: float = 20.0
    """Silence after which a connection is given up."""
    attempts: int = 4
    """Connections for one member that may break before anything has come over them."""

    @property
    def label(self) -> str:
        """How a message names it."""
        return f"the archive {self.url}"

    def fetch(self, names: list[str]) -> None:
        """Put the members of these file names, whatever their folder, into `directory`.

        SourceUnavailable says why not; what has come until then is kept for the next time.
        """
        try:
            with zipfile.ZipFile(
                io.BufferedReader(_Ranges(self), _DIRECTORY_BLOCK_BYTES)
            ) as archive:
                members = {Path(m.filename).name: m for m in archive.infolist()}
            self.directory.mkdir(parents=True, exist_ok=True)
            for name in names:
                if name not in members:
                    raise SourceUnavailable(f"{name} is not in it")
                self._fetch_member(members[name], name)
        except (OSError, OperationError, http.client.HTTPException) as error:
            raise SourceUnavailable(describe_failure(error)) from error
        except (ValueError, struct.error, RuntimeError, OverflowError, zipfile.BadZipFile) as error:
            raise SourceUnavailable(f"no zip archive: {error}") from error

    def _fetch_member(self, member: zipfile.ZipInfo, name: str) -> None:
        if max(member.file_size, member.compress_size) > _MAX_MEMBER_BYTES:
            raise SourceUnavailable(f"{name} is larger than {_MAX_MEMBER_BYTES} bytes")
        part = self.directory / f"{name}.part"
        start = self._start_of_data(member, name)
        failures = 0
        while (have := part.stat().st_size if part.exists() else 0) < member.compress_size:
            self.progress(name, have, member.compress_size)
            try:
                self._go_on(part, name, start, have, member.compress_size)
            except (OSError, http.client.HTTPException) as error:
                # A connection that brought something on is no failure: the next goes on from there.
                failures = 0 if part.exists() and part.stat().st_size > have else failures + 1
                if failures >= self.attempts:
                    raise SourceUnavailable(
                        f"{name}: {describe_failure(error)}; {have} of {member.compress_size} "
                        "bytes are kept for the next time"
                    ) from error
        self.progress(name, member.compress_size, member.compress_size)
        packed = part.read_bytes()
        try:
            content = _inflate(packed, member)
        except (ValueError, zlib.error) as error:
            part.unlink()
            raise SourceUnavailable(f"{name} came damaged ({error}); try again") from error
        write_atomically(self.directory / name, content)
        part.unlink()

    def _go_on(self, part: Path, name: str, start: int, have: int, whole: int) -> None:
        with (
            self.open_range(start + have, start + whole) as response,
            part.open("ab") as file,
        ):
            while have < whole and (block := response.read(min(_BLOCK_BYTES, whole - have))):
                file.write(block)
                have += len(block)
                self.progress(name, have, whole)
        if have < whole:
            raise ConnectionResetError("the connection ended early")

    def _start_of_data(self, member: zipfile.ZipInfo, name: str) -> int:
        """The local header before a member has lengths of its own, which may differ."""
        offset = member.header_offset
        if offset < 0:
            raise SourceUnavailable(f"{name}: the directory puts it before the beginning")
        with self.open_range(offset, offset + _LOCAL_HEADER.size) as response:
            header = response.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_MAGIC):
            raise SourceUnavailable(f"{name}: no member where the directory says it is")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        return int(offset + _LOCAL_HEADER.size + name_bytes + extra_bytes)

    def open_range(self, start: int, stop: int) -> http.client.HTTPResponse:
        """The answer to a request for the bytes from `start` to before `stop`."""
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={start}-{stop - 1}"})
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout_s)
        sent = response.headers.get("Content-Range", "")
        if response.status != http.HTTPStatus.PARTIAL_CONTENT or not sent.startswith(
            f"bytes {start}-"
        ):
            response.close()
            raise SourceUnavailable("the server does not send parts of files")
        return response


class _Ranges(io.RawIOBase):
    """The archive as a file that can be read at any place; every read is a request."""

    def __init__(self, archive: RemoteArchive) -> None:
        self._archive = archive
        self._place = 0
        with archive.open_range(0, 1) as response:
            whole = response.headers["Content-Range"].rpartition("/")[2]
        if not whole.isdecimal():
            raise SourceUnavailable("the server does not say how large it is")
        self._size = int(whole)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the beginning")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        stop = min(self._size, self._place + len(buffer))
        if stop <= self._place:
            return 0
        with self._archive.open_range(self._place, stop) as response:
            data = response.read(stop - self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _inflate(packed: bytes, member: zipfile.ZipInfo) -> bytes:
    """The member's content; ValueError or zlib.error when it is not what the directory says."""
    if member.compress_type == zipfile.ZIP_STORED:
        content = packed
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.file_size + 1)
    else:
        raise ValueError(f"compression {member.compress_type} is not read")
    if len(content) != member.file_size:
        raise ValueError(f"{len(content)} bytes in place of {member.file_size}")
    if zlib.crc32(content) != member.CRC:
        raise ValueError("another CRC-32 than the archive's")
    return content
