"""What the bridge leaves on a broker, and takes away again."""

from __future__ import annotations

import json

import pytest
from spoken_watch import SpokenWatch

from pfedfrz_monitor.home_assistant import Bridge, Place
from pfedfrz_monitor.home_assistant.removal import remove, retained_devices
from pfedfrz_protocol import DesiredState, Membership, OperatorAnswer, Pause, Presence, Resume
from pfedfrz_transport import MemoryBroker, MemoryLink

PLACE = Place("lab")


class Home:
    """A bridge on a broker in memory."""

    def __init__(self, most_devices: int = 10, *, before: tuple[str, ...] = ()) -> None:
        self.watch = SpokenWatch(may_act=True)
        self.broker = MemoryBroker()
        self.link = MemoryLink(self.broker, "home")
        self.link.start()
        self.said: list[str] = []
        self.bridge = Bridge(
            self.watch, self.link, PLACE, {"a": "kitchen"},
            most_devices=most_devices, before=before, say=self.said.append,
        )  # fmt: skip
        self.bridge.begin()

    def told(self, topic: str) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.broker.retained()[topic])
        return content

    def publications(self) -> int:
        return len(self.broker.captured)


def test_the_federation_and_its_devices_appear_with_their_states() -> None:
    home = Home()
    lab = home.watch.lab
    lab.control(DesiredState.RUN)
    lab.status("a")
    lab.status("b", Presence.WAITING, "power")
    home.bridge.look()
    assert home.broker.retained()[PLACE.availability] == b"online"
    state = home.told(PLACE.state)
    assert (state["state"], state["online"], state["coordinator"]) == ("running", 2, True)
    assert home.told(PLACE.device_state("b"))["stage"] == "waiting"
    device = home.told("homeassistant/device/pfedfrz_xlab_xa/config")["device"]
    assert isinstance(device, dict)
    assert device["name"] == "kitchen"
    home.bridge.end()
    assert home.broker.retained()[PLACE.availability] == b"offline"


def test_only_what_changed_is_told() -> None:
    home = Home()
    home.watch.lab.status("a")
    home.watch.lab.status("b")
    home.bridge.look()
    before = home.publications()
    home.bridge.look()
    assert home.publications() == before
    home.watch.lab.status("a", Presence.OFFLINE)
    home.bridge.look()
    assert [c.topic for c in home.broker.captured[before:]] == [
        PLACE.state,
        PLACE.device_state("a"),
    ]


def test_a_revoked_device_is_taken_away_and_one_too_many_is_not_shown() -> None:
    home = Home(most_devices=2)
    lab = home.watch.lab
    for name in ("a", "b", "c"):
        lab.status(name)
    home.bridge.look()
    assert PLACE.config("c") not in home.broker.retained()
    assert home.said == ["2 devices of 3 are shown in Home Assistant: --most-devices takes more"]
    lab.say(lab.view.topics.members, Membership(2, (), {}, ("a",), False))
    home.bridge.look()
    assert PLACE.config("a") not in home.broker.retained()
    assert PLACE.device_state("a") not in home.broker.retained()
    lab.status("c")
    home.bridge.look()
    assert PLACE.config("c") in home.broker.retained(), "there is room now"


def test_whom_an_earlier_bridge_showed_and_who_is_gone_is_taken_away() -> None:
    home = Home(before=("a", "gone"))
    home.link.publish_retained(PLACE.config("gone"), b"{}")
    home.link.publish_retained(PLACE.device_state("gone"), b"{}")
    home.watch.lab.status("a")
    home.bridge.look()
    assert PLACE.config("gone") in home.broker.retained()
    home.bridge.settle()
    assert not [topic for topic in home.broker.retained() if "gone" in topic]
    assert PLACE.config("a") in home.broker.retained()


@pytest.mark.parametrize(("payload", "action"), [(b"ON", Pause()), (b"OFF", Resume())])
def test_the_switch_asks_the_coordinator(payload: bytes, action: Pause | Resume) -> None:
    home = Home()
    home.bridge.on_switch(payload)
    ((asked, answer),) = home.watch.asked
    assert asked == action
    answer.set_result(OperatorAnswer(1, 1, True, "done"))
    assert home.said == ["done"]


def test_what_is_no_switch_is_not_asked_for_and_a_refusal_turns_the_switch_back() -> None:
    home = Home()
    home.bridge.look()
    for payload in (b"", b"on", b"\xff", b"ON "):
        home.bridge.on_switch(payload)
    assert home.watch.asked == []
    home.bridge.on_switch(b"ON")
    before = home.publications()
    home.watch.asked[0][1].set_result(OperatorAnswer(0, 0, False, "the coordinator is away"))
    home.bridge.look()
    assert home.said == ["not done: the coordinator is away"]
    assert [c.topic for c in home.broker.captured[before:]] == [PLACE.state]
    assert home.told(PLACE.state)["paused"] is False


def test_everything_is_removed_also_what_another_process_left() -> None:
    home = Home()
    home.watch.lab.status("a")
    home.watch.lab.status("b.c_d")
    home.bridge.look()
    home.link.publish_retained("pfedfrz-ha/v1/other/device/a/state", b"{}")
    link = MemoryLink(home.broker, "removal")
    link.subscribe(PLACE.every_device_state)
    link.start()
    devices = retained_devices(link, PLACE, listen_s=0.05)
    assert devices == ["a", "b.c_d"]
    remove(link, PLACE, devices)
    assert list(home.broker.retained()) == ["pfedfrz-ha/v1/other/device/a/state"]
