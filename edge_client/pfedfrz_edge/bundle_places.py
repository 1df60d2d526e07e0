"""Where the bundles of a device and their stores are, below its state directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import Bundle, ConfigurationError
from pfedfrz_storage import read_bundle_file

__all__ = ["ARCHIVE", "BundlePlaces"]

ARCHIVE = "model.pfz"


@dataclass(frozen=True, slots=True)
class BundlePlaces:
    """The folders of one device's bundles, by the digests of their manifests."""

    state_dir: Path
    root: str
    """The bundle whose stores are in the state directory itself."""

    @property
    def folder(self) -> Path:
        """Where downloads and other bundles are."""
        return self.state_dir / "bundles"

    def home(self, digest: str) -> Path:
        """Where the stores of that bundle are."""
        return self.state_dir if digest == self.root else self.folder / digest

    def archive(self, digest: str) -> Path:
        """The file of a bundle that an offer brought."""
        return self.home(digest) / ARCHIVE

    def read(self, digest: str) -> Bundle:
        """The bundle in that file; ConfigurationError when it is gone, damaged or another one."""
        path = self.archive(digest)
        bundle = read_bundle_file(path)
        if bundle.manifest.digest != digest:
            raise ConfigurationError(f"{path} is not the bundle {digest[:12]}... that it was")
        return bundle
