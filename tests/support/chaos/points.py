"""Instants at which a process is killed on purpose: each patches one function of a running member.

The patches are put on by the tests' own start script (member.py); no production code knows of them.
"""

from __future__ import annotations

import fnmatch
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["COORDINATOR_POINTS", "DEVICE_POINTS", "Death", "arm"]


class Death:
    """Ends this process with SIGKILL the n-th time that the instant comes."""

    def __init__(self, point: str, nth: int, deaths: Path) -> None:
        self._point = point
        self._left = nth
        self._deaths = deaths

    def comes(self) -> bool:
        """Whether this is the time."""
        self._left -= 1
        return self._left == 0

    def die(self) -> NoReturn:
        """Leave word of it, and go."""
        with self._deaths.open("a") as file:
            file.write(f"{os.getpid()} {self._point}\n")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def _before(owner: Any, name: str, death: Death, when: Callable[..., bool]) -> None:
    """Die in place of the call."""
    real = getattr(owner, name)

    def call(*values: Any, **named: Any) -> Any:
        if when(*values, **named) and death.comes():
            death.die()
        return real(*values, **named)

    setattr(owner, name, call)


def _after(owner: Any, name: str, death: Death, when: Callable[..., bool]) -> None:
    """Die when the call has returned."""
    real = getattr(owner, name)

    def call(*values: Any, **named: Any) -> Any:
        result = real(*values, **named)
        if when(*values, **named) and death.comes():
            death.die()
        return result

    setattr(owner, name, call)


def _always(*_: Any, **__: Any) -> bool:
    return True


def _half_written(pattern: str, death: Death) -> None:
    """Die when half of a file of that name is on the disk."""
    real = os.fdopen

    class Half:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: Any) -> None:
            self._file.write(bytes(data)[: len(data) // 2])
            self._file.flush()
            death.die()

    def fdopen(descriptor: int, *values: Any, **named: Any) -> Any:
        file = real(descriptor, *values, **named)
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if fnmatch.fnmatch(name, pattern) and death.comes():
            return Half(file)
        return file

    os.fdopen = fdopen  # type: ignore[assignment]


def _not_renamed(pattern: str, death: Death) -> None:
    """Die when the whole file is on the disk under its other name."""
    _before(Path, "replace", death, lambda path, _: fnmatch.fnmatch(path.name, pattern))


def _sending(topic_part: str, death: Death) -> None:
    """Die when a packet of such a topic was given to the network."""
    from pfedfrz_transport.mqtt_connection import MqttConnection

    _after(MqttConnection, "publish", death, lambda _, packet: topic_part in packet.topic)


def _receiving(death: Death) -> None:
    """Die when a chunk has come that does not complete its transfer."""
    from pfedfrz_protocol.chunks import Reassembly

    _after(Reassembly, "take", death, lambda whole, *_: bool(whole.missing))


def _personal_saved(death: Death) -> None:
    from pfedfrz_edge.personal_store import PersonalStore

    _after(PersonalStore, "save", death, lambda _, stored: stored.phase == 0)


def _outbox_put(death: Death) -> None:
    from pfedfrz_edge.outbox import Outbox

    _after(Outbox, "put", death, _always)


DEVICE_POINTS: dict[str, Callable[[Death], None]] = {
    "store half written": lambda death: _half_written("personal-*", death),
    "store not renamed": lambda death: _not_renamed("personal-*", death),
    "between phases": _personal_saved,
    "outbox half written": lambda death: _half_written("pending-update*", death),
    "update kept, not announced": _outbox_put,
    "mid-upload": lambda death: _sending("/update/", death),
    "mid-download": _receiving,
}
"""Of devices."""


def _round_written(death: Death) -> None:
    from pfedfrz_coordinator.state import CoordinatorState

    _after(CoordinatorState, "open_round", death, _always)


def _round_published(death: Death) -> None:
    _sending_round = "/round"
    from pfedfrz_transport.mqtt_connection import MqttConnection

    _after(
        MqttConnection, "publish", death, lambda _, packet: packet.topic.endswith(_sending_round)
    )


def _journal(method: str, death: Death, *, after: bool) -> None:
    from pfedfrz_coordinator.journal import Journal

    (_after if after else _before)(Journal, method, death, _always)


def _aggregating(death: Death) -> None:
    from pfedfrz_coordinator.update_store import StoredUpdates

    _after(StoredUpdates, "_read", death, _always)


COORDINATOR_POINTS: dict[str, Callable[[Death], None]] = {
    "round written, not published": _round_written,
    "round published": _round_published,
    "model half published": lambda death: _sending("/model/", death),
    "mid-receive": _receiving,
    "update half written": lambda death: _half_written("device-*.partial-*", death),
    "update file without a row": lambda death: _journal("accept_all", death, after=False),
    "row without a verdict": lambda death: _journal("accept_all", death, after=True),
    "mid-aggregation": _aggregating,
    "checkpoint half written": lambda death: _half_written("model-*", death),
    "checkpoint not renamed": lambda death: _not_renamed("model-*", death),
    "checkpoint without a closed round": lambda death: _journal("close_round", death, after=False),
    "round closed, next not opened": lambda death: _journal("close_round", death, after=True),
}
"""Of the coordinator."""


def arm(point: str, nth: int, deaths: Path) -> None:
    """Let this process die at the n-th coming of `point`, and say so in the file `deaths`."""
    (DEVICE_POINTS | COORDINATOR_POINTS)[point](Death(point, nth, deaths))
