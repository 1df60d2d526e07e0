"""What a process tells systemd about itself: sd_notify(3), by datagrams to `$NOTIFY_SOCKET`.

One loop owns one `ServiceManager` and calls `turn` every time it goes round, `longest_wait_s` apart
at most. The watchdog is fed from there and from nowhere else: a thread of its own would go on
feeding it while the loop hangs, which is what systemd is to notice. Without `NOTIFY_SOCKET`, as in
a shell, nothing is sent and no wait is shortened.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping

__all__ = ["ServiceManager"]

_log = logging.getLogger(__name__)
_FEEDS_PER_PERIOD = 3
"""Of the watchdog; two may be late or lost."""
_LONGEST_STATUS = 200
_EXTEND_EVERY_S = 20.0
_EXTEND_S = 60.0
"""Asked for each time; two may be late or lost."""
_LONGEST_START_S = 3600.0


class ServiceManager:
    """Tells systemd when the service is ready, what it does, and that its loop goes round."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`environment` is the process's (`os.environ`); without one nobody is told anything."""
        environment = environment or {}
        self._clock = clock
        self._address = _socket_address(environment.get("NOTIFY_SOCKET", ""))
        self._feed_every_s = _watchdog_s(environment) / _FEEDS_PER_PERIOD
        self._feed_due_s = -math.inf if math.isfinite(self._feed_every_s) else math.inf
        self._is_ready = self._is_ready_said = False
        self._extend_due_s = self._extend_until_s = math.inf
        self._status = ""
        self._is_heard = True

    @property
    def longest_wait_s(self) -> float:
        """How long the loop may wait before it calls `turn` again; infinite without a watchdog."""
        if not self._address:
            return math.inf
        return min(self._feed_every_s, _EXTEND_EVERY_S if self._is_starting_long else math.inf)

    def take_long_to_start(self) -> None:
        """The start may take longer than systemd allows: until it is ready, the turns ask for more.

        They do so for an hour at most. Of a service that is ready this changes nothing.
        """
        if math.isinf(self._extend_until_s):
            self._extend_due_s = self._clock()
            self._extend_until_s = self._extend_due_s + _LONGEST_START_S

    @property
    def _is_starting_long(self) -> bool:
        return not self._is_ready_said and math.isfinite(self._extend_until_s)

    def ready(self) -> None:
        """The service can do its work: the next `turn` says so, once."""
        self._is_ready = True

    def turn(self, status: str) -> None:
        """The loop has gone round once more, and this line says what the service is doing."""
        if not self._address:
            return
        status, now_s = _one_line(status), self._clock()
        said = ["READY=1"] if self._is_ready and not self._is_ready_said else []
        if status != self._status:
            said.append(f"STATUS={status}")
        extends = (
            self._is_starting_long and not self._is_ready
            and self._extend_due_s <= now_s < self._extend_until_s
        )  # fmt: skip
        if extends:
            said.append(f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1e6:.0f}")
        feeds = now_s >= self._feed_due_s
        if feeds:
            said.append("WATCHDOG=1")
        if said and self._send("\n".join(said)):
            self._is_ready_said, self._status = self._is_ready, status
            if feeds:
                self._feed_due_s = now_s + self._feed_every_s
            if extends:
                self._extend_due_s = now_s + _EXTEND_EVERY_S

    def stopping(self) -> None:
        """The service is on its way out."""
        if self._address:
            self._send("STOPPING=1")

    def _send(self, text: str) -> bool:
        """Whether systemd was told; what it was not is said again by the next turn."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as own:
                own.setblocking(False)  # the loop does not wait for a systemd that is busy
                own.connect(self._address)
                own.sendall(text.encode())
        except OSError as error:
            if self._is_heard:
                _log.warning("systemd could not be told %r: %s", text, error.strerror or error)
            self._is_heard = False
        else:
            self._is_heard = True
        return self._is_heard


def _socket_address(name: str) -> str:
    """A path, or the name of an abstract socket; empty for what sd_notify does not know."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """The watchdog's period; infinite when there is none, or when it is another process's."""
    process = environment.get("WATCHDOG_PID", "")
    if process and process != str(os.getpid()):
        return math.inf
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", ""))
    except ValueError:
        return math.inf
    return microseconds / 1e6 if microseconds > 0 else math.inf


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_STATUS]
