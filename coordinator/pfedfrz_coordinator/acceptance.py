"""From a complete upload to an update that is safe on disk, beside the loop and in groups.

What an update costs is hashing, unpacking, arithmetic and writing, all of which let other threads
run. So the loop hands a complete payload over and goes on; a few threads judge it and write it
aside, flushed; the result comes back as an event. The loop then makes all results that have come
together lasting, with one flush of the directory and one row commit for the lot, and only then are
their devices told. What was acknowledged is on disk; what was not is asked for again.

An upload whose grant has gone meanwhile has a result that nobody wants: it is thrown away, and the
file that was written aside with it, so that it can never meet the file of an accepted update.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import ProtocolError, Reassembly, SharedCodec, open_tensors

from .cores import available_cores
from .journal import Holding
from .update_store import UpdateStore
from .validation import Expected, ValidationPolicy, validate_update

__all__ = ["AcceptancePool", "Judged", "Passed"]

_MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class Passed:
    """An update that is valid, and flushed beside the place that it is for or held by a worker."""

    device: str
    samples: int
    norm: float
    payload_bytes: int
    written: Path | None
    """None for one that a worker has made durable."""
    into: int
    """The round that it counts for."""
    stale: int = 0
    """How many rounds before that it was made."""
    holding: Holding | None = None
    """Where a worker has it."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What has become of an upload."""

    upload: object
    """What `submit` was given to know it by."""
    device: str
    round: int
    payload_bytes: int
    outcome: Passed | ProtocolError | BaseException
    """A ProtocolError is a fault of what came; any other error is ours."""
    is_signed: bool = False
    """Whether the device signed what was judged: what did not get so far may be anybody's."""


class AcceptancePool:
    """A few threads that judge updates and write them aside."""

    def __init__(
        self,
        codec: SharedCodec,
        policy: ValidationPolicy,
        store: UpdateStore,
        post: Callable[[Judged], None],
    ) -> None:
        """`post` is called on a thread of the pool with every result."""
        self._codec = codec
        self._policy = policy
        self._store = store
        self._post = post
        threads = min(_MOST_THREADS, available_cores())
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="acceptance")

    def submit(self, upload: object, reassembly: Reassembly, key: str, expected: Expected) -> None:
        """Judge a complete payload that must be signed with `key`; nothing is added to it now."""
        self._threads.submit(self._judge, upload, reassembly, key, expected)

    def close(self) -> None:
        """Wait for what was submitted."""
        self._threads.shutdown()

    def _judge(self, upload: object, reassembly: Reassembly, key: str, expected: Expected) -> None:
        size = reassembly.transfer.payload_bytes
        outcome: Passed | BaseException
        is_signed = False
        try:
            sealed = reassembly.assemble()
            payload = open_tensors(sealed).require_signer(key)
            is_signed = True
            update = validate_update(payload, self._codec, expected, self._policy)
            written = self._store.write_aside(expected.into, expected.device, update.numbers)
            outcome = Passed(
                expected.device,
                update.samples,
                update.norm,
                size,
                written,
                expected.into,
                expected.into - expected.round,
            )
        except BaseException as error:  # the loop is who raises it
            outcome = error
        self._post(Judged(upload, expected.device, expected.round, size, outcome, is_signed))
