"""Whom a device takes for its coordinator: one pinned key, and the keys that it handed over to.

The key comes with the configuration (`coordinator_key`), or is that of the first coordinator that
the device hears; then it is kept in the state directory. From then on only what is signed with it
counts, or with a successor that it named.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import msgspec

from pfedfrz_protocol import (
    CoordinatorStatus,
    OperationError,
    ProtocolError,
    RejectReason,
    decode_json,
    follow_successions,
    open_introduction,
    open_signed,
)
from pfedfrz_storage import write_atomically

__all__ = ["CoordinatorTrust"]

log = logging.getLogger(__name__)
_FILE = "coordinator-key.json"
Kind = TypeVar("Kind")


class _Pinned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    root: str
    """What the configuration said; "" when the first coordinator heard was taken."""
    key: str
    """The key that it has led to."""


class CoordinatorTrust:
    """The pinned key of one device."""

    def __init__(self, state_dir: Path, federation: str, configured: str | None) -> None:
        """Read what was pinned; a configured key that is another one than before begins anew."""
        self._path = state_dir / _FILE
        self._owner = f"{federation}/coordinator"
        self._root = configured or ""
        kept = _read(self._path)
        follows = kept is not None and (not configured or kept.root == configured)
        self._key = kept.key if kept is not None and follows else configured

    @property
    def key(self) -> str | None:
        """The coordinator's key; None before one was heard."""
        return self._key

    def open(self, topic: str, payload: bytes, kind: type[Kind]) -> Kind:
        """The coordinator's message; ProtocolError for anybody else's and for what is malformed."""
        return open_signed(payload, kind, topic, self._key or "", "not signed by our coordinator")

    def hear_status(self, topic: str, payload: bytes) -> bool:
        """Take a coordinator's status; whether another key is trusted after it.

        Raises ProtocolError when it is not from the coordinator that we know.
        """
        status = open_introduction(payload, CoordinatorStatus, topic)
        if status.key == self._key:
            return False
        if self._key is None:
            log.warning(
                "trusting the first coordinator heard, key %s...; put coordinator_key into the "
                "configuration to choose it yourself",
                status.key[:12],
            )
        elif follow_successions(self._key, status.key, status.successions, self._owner):
            log.info("the coordinator has rotated its key: %s...", status.key[:12])
        else:
            raise ProtocolError(
                RejectReason.WRONG_SIGNATURE,
                f"a coordinator with another key ({status.key[:12]}..., ours has "
                f"{self._key[:12]}...); if that is right, set coordinator_key, or remove "
                f"{self._path}",
            )
        self._key = status.key
        self._keep()
        return True

    def _keep(self) -> None:
        pinned = _Pinned(self._root, self._key or "")
        try:
            write_atomically(self._path, msgspec.json.encode(pinned), mode=0o600)
        except OperationError as error:
            # In this life the key is known; after the next start it is learnt again.
            log.error("%s", error)


def _read(path: Path) -> _Pinned | None:
    try:
        return decode_json(path.read_bytes(), _Pinned)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperationError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise OperationError(
            f"{path} is damaged: set coordinator_key in the configuration and remove the file"
        ) from error
