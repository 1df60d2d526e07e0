"""An archive on a web server: its directory, and the members that it is fetched by."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipe import scratch

from pfedfrz_emulator.datasets.published import SourceUnavailable
from pfedfrz_emulator.datasets.remote_archive import RemoteArchive

LIMIT = 1 << 20


class _Answer(io.BytesIO):
    """Some bytes, as an answer to a request for a range."""

    def __init__(self, content: bytes, headers: dict[str, str]) -> None:
        super().__init__(content)
        self.headers = headers


@dataclass(frozen=True)
class _Served(RemoteArchive):
    """The archive in memory; a server that is asked too often has hung up."""

    content: bytes = b""
    asked: list[int] = field(default_factory=list)

    def open_range(self, start: int, stop: int) -> Any:
        self.asked.append(start)
        assert len(self.asked) < 500, "asks without end"
        if start < 0:
            raise AssertionError("a range before the beginning")
        end = f"bytes {start}-{stop - 1}/{len(self.content)}"
        return _Answer(self.content[start:stop], {"Content-Range": end})


def target(data: bytes) -> None:
    """Members that arrive are whole, and lie in the folder."""
    folder = Path(scratch() / "remote")
    shutil.rmtree(folder, ignore_errors=True)
    archive = _Served("memory:", folder, attempts=2, content=data)
    try:
        archive.fetch(["f.gz", "g.gz"])
    except SourceUnavailable:
        return
    assert {file.name for file in folder.iterdir()} == {"f.gz", "g.gz"}


def _zip(entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return stream.getvalue()


def seeds() -> dict[str, bytes]:
    two = {"gzip/f.gz": b"abc" * 20, "gzip/g.gz": b"defg"}
    good = _zip(two)
    first, end = good.index(b"PK\x01\x02"), good.rindex(b"PK\x05\x06")

    def put(place: int, content: bytes) -> bytes:
        return good[:place] + content + good[place + len(content) :]

    return {
        "deflated": good,
        "stored": _zip(two, zipfile.ZIP_STORED),
        "bzip2": _zip(two, zipfile.ZIP_BZIP2),
        "bomb": _zip({"f.gz": bytes(4 << 20), "g.gz": b""}),
        "path-trick": _zip({"../../f.gz": b"a", "/etc/g.gz": b"b"}),
        "duplicated": _zip({"a/f.gz": b"a", "b/f.gz": b"b", "g.gz": b"c"}),
        "no-length": put(first + 20, bytes(4)),
        "lying-length": put(first + 24, b"\xff\xff\xff\x7f"),
        "lying-packed-length": put(first + 20, b"\xff\xff\xff\x3f"),
        "wrong-checksum": put(first + 16, bytes(4)),
        "far-offset": put(first + 42, b"\xf0\xff\xff\x7f"),
        "directory-offset": put(end + 16, b"\xff\xff\xff\x7f"),
        "directory-size": put(end + 12, b"\xff\xff\xff\x7f"),
        "truncated": good[:-10],
        "no-archive": b"hello",
        "empty": b"",
    }
