"""Signed tensors: the payload of `tensors` with 64 bytes behind it.

Signed is everything before the body: magic, version, header length and header. The header holds
the label (whose update, of which round and base; or which model version) and the sha256 of the
decoded body, so that the signature covers every bit of the content, and can be judged before the
body is unpacked.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ProtocolError, RejectReason
from .identity import SIGNATURE_BYTES, SigningKey, verifies
from .tensors import head_bytes

__all__ = ["SealedTensors", "open_tensors", "seal_tensors"]

_PURPOSE = "tensors"


def seal_tensors(payload: bytes, key: SigningKey) -> bytes:
    """The encoded tensors with the signature of `key` behind them."""
    return payload + key.sign(_PURPOSE, head_bytes(payload))


@dataclass(frozen=True)
class SealedTensors:
    """A sealed payload taken apart; whether the signature is anybody's is not known yet."""

    payload: memoryview
    """What `SharedCodec` decodes; a view, since updates come by the thousand."""
    signature: bytes

    def require_signer(self, key: str) -> memoryview:
        """The payload; ProtocolError unless the owner of `key` signed it."""
        if not verifies(key, _PURPOSE, head_bytes(self.payload), self.signature):
            raise ProtocolError(RejectReason.WRONG_SIGNATURE, "not signed by the one it names")
        return self.payload


def open_tensors(sealed: bytes) -> SealedTensors:
    """The parts of a sealed payload; ProtocolError when it is too short to have any."""
    if len(sealed) <= SIGNATURE_BYTES:
        raise ProtocolError(RejectReason.NOT_SIGNED, "shorter than a signature")
    return SealedTensors(memoryview(sealed)[:-SIGNATURE_BYTES], sealed[-SIGNATURE_BYTES:])
