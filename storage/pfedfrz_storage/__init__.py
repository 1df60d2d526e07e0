"""Files that survive a power cut: whole or not at all, and checked when they are read."""

from __future__ import annotations

from .atomic import (
    make_directory,
    put_in_place,
    remove_leftovers,
    sync_directory,
    write_atomically,
    write_beside,
)
from .bundle_file import read_bundle_file
from .checked_tensors import DamagedFile, load_tensors, save_tensors
from .configuration_file import read_configuration
from .directory_lock import is_locked, lock_directory
from .key_file import load_or_make_key, load_signing_key, save_signing_key
from .own_identity import OwnIdentity, load_or_make_identity, rotate_identity

__all__ = [
    "DamagedFile",
    "OwnIdentity",
    "is_locked",
    "load_or_make_identity",
    "load_or_make_key",
    "load_signing_key",
    "load_tensors",
    "lock_directory",
    "make_directory",
    "put_in_place",
    "read_bundle_file",
    "read_configuration",
    "remove_leftovers",
    "rotate_identity",
    "save_signing_key",
    "save_tensors",
    "sync_directory",
    "write_atomically",
    "write_beside",
]
