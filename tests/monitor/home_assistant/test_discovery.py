"""Discovery messages are what Home Assistant takes, and fit the states that follow them."""

from __future__ import annotations

import re

import home_assistant_schema as schema
import msgspec
import pytest
from federation_messages import Speaker
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_monitor.home_assistant import Place
from pfedfrz_monitor.home_assistant.discovery import (
    Discovery,
    device_discovery,
    federation_discovery,
)
from pfedfrz_monitor.home_assistant.states import device_state, federation_state
from pfedfrz_protocol import ConfigurationError, DesiredState, Presence

PLACE = Place("lab")
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)


def read(message: Discovery) -> schema.Discovery:
    return msgspec.json.decode(msgspec.json.encode(message), type=schema.Discovery)


def keys(message: Discovery) -> set[str]:
    """What the templates read."""
    templates = [component.value_template for component in message.components.values()]
    return {found for t in templates for found in re.findall(r"value_json\.(\w+)", t)}


def test_the_federation_is_taken_and_has_a_switch_only_for_operators() -> None:
    for may_pause in (False, True):
        taken = read(federation_discovery(PLACE, may_pause=may_pause))
        assert ("pause" in taken.components) == may_pause
        assert taken.availability_topic == "pfedfrz-ha/v1/lab/status"
        assert taken.state_topic == "pfedfrz-ha/v1/lab/state"
    switch = taken.components["pause"]
    assert isinstance(switch, schema.Switch)
    assert switch.command_topic == "pfedfrz-ha/v1/lab/pause/set"


def test_a_device_is_taken_under_its_label_and_belongs_to_the_federation() -> None:
    taken = read(device_discovery(PLACE, "pi-1", "kitchen {{ states }}\x1b"))
    assert taken.device.name == "kitchen {{ states }}\\x1b"
    federation = read(federation_discovery(PLACE, may_pause=False))
    assert taken.device.via_device == federation.device.identifiers[0]
    assert read(device_discovery(PLACE, "pi-1")).device.name == "pi-1"


def test_every_template_reads_a_key_that_the_state_has() -> None:
    lab = Speaker()
    lab.status("a")
    told = msgspec.to_builtins(federation_state(lab.view))
    assert keys(federation_discovery(PLACE, may_pause=True)) <= told.keys()
    assert (
        keys(device_discovery(PLACE, "a"))
        <= msgspec.to_builtins(device_state(lab.view, "a")).keys()
    )


def test_every_state_of_an_enum_is_one_of_its_options() -> None:
    lab = Speaker()
    states = {federation_state(lab.view).state}
    for desired in DesiredState:
        lab.control(desired)
        states.add(federation_state(lab.view).state)
    sensor = read(federation_discovery(PLACE, may_pause=False)).components["state"]
    assert isinstance(sensor, schema.Sensor)
    assert states == set(sensor.options or ())
    stages = set()
    for presence in Presence:
        lab.status("a", presence)
        stages.add(device_state(lab.view, "a").stage)
    sensor = read(device_discovery(PLACE, "a")).components["stage"]
    assert isinstance(sensor, schema.Sensor)
    assert stages == {"idle", "offline", "waiting"}
    assert stages < set(sensor.options or ())


def test_states_are_in_percent_and_the_last_cosine_is_told() -> None:
    lab = Speaker()
    lab.announce(1, "a")
    lab.ready("a", 1, 0.25, 0.75)
    lab.close(1, 1, 1, norms={"a": 2.0}, cosines={"a": -0.5})
    told = device_state(lab.view, "a")
    assert (told.local, told.cosine, told.samples) == (75.0, -0.5, 60)
    assert federation_state(lab.view).uplink == 1_250_000


@given(NAMES, NAMES, NAMES, NAMES)
def test_every_name_makes_a_discovery_topic_of_its_own(
    one: str, two: str, other_one: str, other_two: str
) -> None:
    topic = Place(one).config(two)
    assert schema.DISCOVERY_TOPIC.fullmatch(topic.removeprefix("homeassistant/"))
    assert (topic == Place(other_one).config(other_two)) == ((one, two) == (other_one, other_two))
    assert Place(one).config() != Place(other_one).config(other_two)


def test_a_prefix_that_is_no_topic_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--discovery-prefix 'home/#'"):
        Place("lab", "home/#")
