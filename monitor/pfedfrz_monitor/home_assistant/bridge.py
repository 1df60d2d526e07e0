"""The bridge: keeps Home Assistant's picture of a federation as the watch has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

import msgspec

from pfedfrz_protocol import OperationError, OperatorAnswer, Pause, Resume
from pfedfrz_transport import Link, LinkOverflow, Will

from ..concerns import concern
from ..device_view import Standing
from ..readable import count
from ..settings import MonitorSettings
from ..view import FederationView
from ..watch import Watch, open_watch
from .discovery import device_discovery, federation_discovery
from .place import Place
from .removal import known_devices
from .states import device_state, federation_state

__all__ = ["Bridge", "show_in"]

_LOOK_S = 1.0
_SETTLED_S = 15.0
"""After so long a device that was shown before and is not heard of now is gone."""
_ONLINE, _OFFLINE = b"online", b"offline"


class Bridge:
    """One federation's place in Home Assistant."""

    def __init__(
        self,
        watch: Watch,
        link: Link,
        place: Place,
        labels: Mapping[str, str],
        *,
        most_devices: int,
        before: Iterable[str] = (),
        say: Callable[[str], None],
    ) -> None:
        self._watch = watch
        self._link = link
        self._place = place
        self._labels = labels
        self._most_devices = most_devices
        self._before = set(before)
        self._say = say
        self._shown = set[str]()
        self._told: dict[str, bytes] = {}
        self._seen_revision = -1
        self._has_said_more = False

    def begin(self) -> None:
        """Announce the federation."""
        config = federation_discovery(self._place, may_pause=self._watch.may_act)
        self._tell(self._place.config(), msgspec.json.encode(config))
        self._tell(self._place.availability, _ONLINE)

    def look(self) -> None:
        """Tell what has changed, and take away who is gone."""
        with self._watch.reading() as view:
            revision = view.revision
            if revision == self._seen_revision:
                return
            state = msgspec.json.encode(federation_state(view))
            fresh, gone = self._changes(view)
        self._tell(self._place.state, state)
        for name in gone:
            self._forget(name)
        for name, told in fresh.items():
            config = device_discovery(self._place, name, self._labels.get(name, ""))
            self._tell(self._place.config(name), msgspec.json.encode(config))
            self._tell(self._place.device_state(name), told)
        self._seen_revision = revision  # last: what had no room is told at the next look

    def settle(self) -> None:
        """Take away whom an earlier bridge showed and who is not there any more."""
        with self._watch.reading() as view:
            gone = self._before - view.devices.keys()
        for name in gone:
            self._forget(name)
        self._before = set()

    def end(self) -> None:
        """Say that nothing more is told; what was told stays, as unavailable."""
        self._tell(self._place.availability, _OFFLINE)

    def on_switch(self, payload: bytes) -> None:
        """The switch was turned: ON pauses."""
        if payload not in (b"ON", b"OFF"):
            return
        asked = self._watch.ask(Pause() if payload == b"ON" else Resume())
        asked.add_done_callback(self._on_answer)

    def _on_answer(self, asked: Future[OperatorAnswer]) -> None:
        answer = asked.result()
        self._say(answer.detail if answer.done else f"not done: {answer.detail}")
        # Where nothing came of it, the switch has to go back to what is true.
        if not answer.done:
            self._told.pop(self._place.state, None)
            self._seen_revision = -1

    def _changes(self, view: FederationView) -> tuple[dict[str, bytes], list[str]]:
        fresh: dict[str, bytes] = {}
        gone = []
        more = 0
        for name, device in view.devices.items():
            if device.standing is Standing.REVOKED:
                if name in self._shown or name in self._before:
                    gone.append(name)
            elif name not in self._shown and len(self._shown) >= self._most_devices:
                more += 1
            else:
                self._shown.add(name)
                fresh[name] = msgspec.json.encode(device_state(view, name))
        if more and not self._has_said_more:
            self._has_said_more = True
            self._say(
                f"{count(self._most_devices, 'device')} of {len(view.devices):,} are shown in Home "
                "Assistant: --most-devices takes more"
            )
        return fresh, gone

    def _forget(self, name: str) -> None:
        self._shown.discard(name)
        self._before.discard(name)
        for topic in (self._place.config(name), self._place.device_state(name)):
            self._told.pop(topic, None)
            self._link.clear_retained(topic)

    def _tell(self, topic: str, payload: bytes) -> None:
        if self._told.get(topic) != payload:
            self._link.publish_retained(topic, payload)
            self._told[topic] = payload


def show_in(
    settings: MonitorSettings, place: Place, *, most_devices: int, say: Callable[[str], None]
) -> None:
    """Keep the federation shown in Home Assistant until Ctrl-C.

    Raises BrokerUnreachable, ConfigurationError, and OperationError when another monitor with the
    same account takes the connection.
    """
    before = known_devices(settings, place)
    watch = open_watch(settings, will=Will(place.availability, _OFFLINE))
    bridge = Bridge(
        watch,
        watch.link,
        place,
        settings.labels,
        most_devices=most_devices,
        before=before,
        say=say,
    )
    if watch.may_act:
        watch.hear(place.pause, bridge.on_switch)
    watch.start()
    try:
        say(f"{settings.federation} is shown in Home Assistant; Ctrl-C ends it")
        _follow(watch, bridge, settings.federation, say)
    finally:
        if not watch.health.given_up:
            bridge.end()
        watch.close()


def _follow(watch: Watch, bridge: Bridge, federation: str, say: Callable[[str], None]) -> None:
    bridge.begin()
    settled_at: float | None = time.monotonic() + _SETTLED_S
    trouble = ""
    while True:
        now = concern(watch.health, federation, time.time())
        if watch.health.given_up:
            raise OperationError(now)
        if now != trouble:
            trouble = now
            say(now or "all is well again")
        try:
            bridge.look()
            if settled_at is not None and watch.health.heard and time.monotonic() > settled_at:
                settled_at = None
                bridge.settle()
        except LinkOverflow:
            pass  # the broker is slow or away: what is new is told when there is room
        time.sleep(_LOOK_S)
