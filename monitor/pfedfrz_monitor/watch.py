"""A federation being watched: a view that a thread of its own keeps up to date."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from pfedfrz_protocol import (
    ConfigurationError,
    OperatorAction,
    OperatorAnswer,
    ProtocolError,
    Topics,
)
from pfedfrz_storage import load_signing_key
from pfedfrz_transport import (
    Link,
    LinkDown,
    LinkLimits,
    LinkUp,
    Message,
    MqttLink,
    Posted,
    Refused,
    Traffic,
    Will,
    open_access,
)

from .find_federation import EVERY_COORDINATOR, federation_on
from .operator import Operator
from .settings import MonitorSettings
from .view import FederationView

__all__ = ["Health", "LiveWatch", "Watch", "open_watch", "started"]

_POLL_S = 0.2
_AT_ONCE = 500
_MOST_FEDERATIONS = 100
_CONTESTS = 3
_CONTEST_S = 120.0
_CONTESTED = "another client"
"""In the link's reason for a connection that somebody with the same client id has taken."""


@dataclass(frozen=True)
class Health:
    """How the watching itself goes."""

    source: str
    """Where the view comes from, for people: the broker's place, or a journal's."""
    connected: bool = False
    since: float = 0.0
    """Unix seconds of the last change of `connected`."""
    fault: str = ""
    """Why it is not connected, or what the broker refused."""
    traffic: Traffic = field(default_factory=Traffic)
    heard: bool = False
    """Whether the coordinator of this federation has been heard at all."""
    given_up: bool = False
    """Whether it has ended by itself, for `fault`."""
    federations: tuple[str, ...] = ()
    """The names of those that are on this broker, as far as we may see them."""
    speed: float | None = None
    """Of a run that is played again, so many times as quick as it was; None for what is live."""


class Watch(Protocol):
    """What the faces draw: live over MQTT, or a finished run once more. For any thread."""

    @property
    def may_act(self) -> bool:
        """Whether `ask` may be called."""
        ...

    @property
    def health(self) -> Health:
        """How the watching goes."""
        ...

    def start(self) -> None:
        """Begin to keep the view up to date; raises BrokerUnreachable."""
        ...

    def close(self) -> None:
        """End it; the view stays as it is."""
        ...

    def reading(self) -> AbstractContextManager[FederationView]:
        """The view, which does not change meanwhile. Not for long: what comes has to wait."""
        ...

    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        """Ask the coordinator to do something; ConfigurationError for who may only watch."""
        ...


@contextlib.contextmanager
def started(watch: Watch) -> Iterator[None]:
    """The watch is kept up to date inside, and closed at the end; raises BrokerUnreachable."""
    watch.start()
    try:
        yield
    finally:
        watch.close()


@dataclass(frozen=True)
class _Ask:
    action: OperatorAction
    answer: Future[OperatorAnswer]


class LiveWatch:
    """A federation over MQTT."""

    def __init__(
        self,
        view: FederationView,
        link: Link,
        source: str,
        operator: Operator | None = None,
        *,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self._view = view
        self._link = link
        self._operator = operator
        self._connect_timeout_s = connect_timeout_s
        self._lock = threading.Lock()
        self._health = Health(source)
        self._federations = set[str]()
        self._lost_to_another: list[float] = []
        self._heard: dict[str, Callable[[bytes], None]] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    @property
    def may_act(self) -> bool:
        """Whether an operator's key is at hand."""
        return self._operator is not None

    @property
    def health(self) -> Health:
        """How the watching goes."""
        return replace(
            self._health,
            traffic=self._link.traffic,
            heard=self._view.coordinator is not None,
            federations=tuple(sorted(self._federations)),
        )

    @property
    def link(self) -> Link:
        """The connection, for whoever also publishes."""
        return self._link

    def hear(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Hand what is said on another topic to `heard`, on the watch's own thread.

        Not what the broker retained.
        """
        self._heard[topic] = heard
        self._link.subscribe(topic)

    def start(self) -> None:
        """Connect and follow; raises BrokerUnreachable when the broker does not answer."""
        for topic_filter in self._view.filters:
            self._link.subscribe(topic_filter)
        self._link.subscribe(EVERY_COORDINATOR)
        if self._operator is not None:
            self._link.subscribe(self._operator.answers)
        self._link.start()
        try:
            self._link.wait_until_up(self._connect_timeout_s)
        except BaseException:
            self._link.close()
            raise
        self._thread.start()

    def close(self) -> None:
        """Disconnect."""
        self._closing = True
        self._link.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._link.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[FederationView]:
        """The view, which does not change meanwhile."""
        with self._lock:
            yield self._view

    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        """Ask the coordinator to do something; ConfigurationError for who may only watch."""
        if self._operator is None:
            raise ConfigurationError(
                "this account only watches: an operator's monitor.toml has operator and "
                "operator_key_file (pfedfrz provision --operator NAME)"
            )
        answer = Future[OperatorAnswer]()
        if self._closing:
            answer.set_result(OperatorAnswer(0, 0, False, "the watch has ended"))
            return answer
        self._link.post(_Ask(action, answer))
        return answer

    def _run(self) -> None:
        while not self._closing:
            event = self._link.poll(_POLL_S)
            with self._lock:
                taken = 0
                while event is not None:
                    self._take(event)
                    taken += 1
                    event = self._link.poll(0.0) if taken < _AT_ONCE else None
                if self._operator is not None:
                    self._operator.give_up()
        if self._operator is not None:
            self._operator.give_up(at_once=True)

    def _take(self, event: object) -> None:
        match event:
            case Message(topic, payload, retained) if topic in self._heard:
                # A request that somebody left there is no request of now.
                if not retained:
                    self._heard[topic](payload)
            case Message(topic, payload):
                self._on_message(topic, payload)
            case LinkUp():
                self._health = replace(self._health, connected=True, since=time.time(), fault="")
            case LinkDown(reason):
                self._health = replace(
                    self._health, connected=False, since=time.time(), fault=reason
                )
                if _CONTESTED in reason:
                    self._yield_to_another()
            case Refused(topic, reason):
                self._health = replace(self._health, fault=f"the broker refused {topic}: {reason}")
            case Posted(_Ask(action, answer)) if self._operator is not None:
                self._operator.ask(action, answer)

    def _yield_to_another(self) -> None:
        """Two with one account would throw each other out for ever: the one before gives way."""
        now = time.monotonic()
        recent = [at for at in self._lost_to_another if at > now - _CONTEST_S]
        self._lost_to_another = [*recent, now]
        if len(self._lost_to_another) < _CONTESTS:
            return
        self._health = replace(
            self._health,
            given_up=True,
            fault="another monitor uses the same account, and this one has left it the "
            "connection: give every monitor an account of its own",
        )
        self._closing = True
        self._link.close(timeout_s=0.0)

    def _on_message(self, topic: str, payload: bytes) -> None:
        if self._operator is not None and topic == self._operator.answers:
            with contextlib.suppress(ProtocolError):
                self._operator.hear(payload)
            return
        federation = federation_on(topic)
        if federation is not None and len(self._federations) < _MOST_FEDERATIONS:
            self._federations.add(federation)
        self._view.see(topic, payload)


def open_watch(settings: MonitorSettings, *, will: Will | None = None) -> LiveWatch:
    """A federation to be watched as it is configured; ConfigurationError says what to mend."""
    access = open_access(settings.broker, settings.tls, settings.password_file)
    view = FederationView(Topics(settings.federation), settings.coordinator_key)
    # A watcher that stays away is told by retained state what it missed: nothing is kept for it.
    options = replace(
        access.options,
        session_expiry_s=0,
        receive_maximum=1024,
        limits=LinkLimits(inbox_messages=20_000),
    )
    # Several may watch from one machine, where the broker does not set the name by the account.
    name = f"{settings.federation}.{settings.operator or 'monitor'}.{secrets.token_hex(4)}"
    link = MqttLink(access.address, name, will=will, options=options)
    operator = None
    if settings.operator is not None and settings.operator_key_file is not None:
        key = load_signing_key(settings.operator_key_file)
        operator = Operator(settings.operator, key, view, link)
    return LiveWatch(
        view,
        link,
        str(access.address),
        operator,
        connect_timeout_s=settings.connect_timeout_s,
    )
