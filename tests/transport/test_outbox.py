from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pfedfrz_transport.events import BulkDone, Refused
from pfedfrz_transport.faults import LinkOverflow
from pfedfrz_transport.link import LinkLimits
from pfedfrz_transport.outbox import Outbox, Packet, packet_bytes

LARGEST = 1000


def make(**limits: int) -> Outbox:
    return Outbox(LinkLimits(**limits), LARGEST)


def connect(outbox: Outbox, window: int = 20) -> None:
    outbox.connected(window=window, largest_packet_bytes=LARGEST)


def drain(outbox: Outbox) -> list[Packet]:
    """Everything, acknowledged at once."""
    packets = []
    while (packet := outbox.next_packet()) is not None:
        packets.append(packet)
        outbox.acknowledged(packet.token)
    return packets


def take(outbox: Outbox) -> list[Packet]:
    """What may go out without an acknowledgement."""
    packets = []
    while (packet := outbox.next_packet()) is not None:
        packets.append(packet)
    return packets


def topics(packets: list[Packet]) -> list[str]:
    return [packet.topic for packet in packets]


def test_never_more_than_two_chunks_are_in_flight() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"c/{i}", b"x") for i in range(5)], tag="t")
    first = take(outbox)
    assert topics(first) == ["c/0", "c/1"]
    outbox.acknowledged(first[0].token)
    assert topics(take(outbox)) == ["c/2"]


def test_a_single_message_goes_before_every_chunk_not_yet_written() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"c/{i}", b"x") for i in range(3)], tag="t")
    assert outbox.next_packet() is not None
    outbox.publish("heartbeat", b"x", 0)
    outbox.publish("event", b"x", 1)
    assert topics(take(outbox)) == ["heartbeat", "event", "c/1"]


def test_a_full_chunk_window_leaves_room_for_single_messages() -> None:
    outbox = make()
    connect(outbox, window=3)
    outbox.publish_bulk([(f"c/{i}", b"x") for i in range(5)], tag="t")
    assert topics(take(outbox)) == ["c/0", "c/1"]
    outbox.publish("event", b"x", 1)
    outbox.publish("event", b"x", 1)
    assert topics(take(outbox)) == ["event"]


@pytest.mark.parametrize("window", [1, 2, 7])
def test_the_brokers_window_bounds_everything_in_flight(window: int) -> None:
    outbox = make()
    connect(outbox, window=window)
    outbox.publish_bulk([(f"c/{i}", b"x") for i in range(5)], tag="t")
    for _ in range(10):
        outbox.publish("n", b"x", 1)
    assert len(take(outbox)) == window


def test_unacknowledged_messages_go_again_in_their_order_before_those_that_waited() -> None:
    outbox = make()
    connect(outbox, window=3)
    for number in range(5):
        outbox.publish(f"n/{number}", b"x", 1)
    outbox.acknowledged(take(outbox)[1].token)
    outbox.disconnected()
    assert outbox.next_packet() is None
    connect(outbox)
    assert topics(take(outbox)) == ["n/0", "n/2", "n/3", "n/4"]


def test_an_acknowledgement_of_an_earlier_connection_is_ignored() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish("n", b"x", 1)
    (before,) = take(outbox)
    outbox.disconnected()
    connect(outbox)
    assert topics(take(outbox)) == ["n"]
    outbox.acknowledged(before.token)
    assert not outbox.is_drained


def test_a_newer_state_is_never_followed_by_an_older_one_after_a_reconnect() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_retained("status", b"old")
    take(outbox)  # on its way when the connection ends
    outbox.disconnected()
    outbox.publish_retained("status", b"new")
    connect(outbox)
    assert [packet.payload for packet in drain(outbox)] == [b"new"]


def test_state_goes_first_on_a_new_connection_and_a_clearing_only_until_acknowledged() -> None:
    outbox = make()
    outbox.publish("event", b"x", 1)
    outbox.publish_retained("a", b"1")
    outbox.clear_retained("b")
    for expected in (["a", "b", "event"], ["a"]):
        connect(outbox)
        packets = drain(outbox)
        assert topics(packets) == expected
        assert [packet.retain for packet in packets] == [topic != "event" for topic in expected]
        outbox.disconnected()


def test_a_value_that_waits_is_replaced_and_takes_its_place_at_the_end() -> None:
    outbox = make()
    connect(outbox, window=1)
    outbox.publish("first", b"x", 1)
    (first,) = take(outbox)
    outbox.publish_retained("round", b"5")
    outbox.publish("command", b"x", 1)
    outbox.publish_retained("round", b"6")
    outbox.acknowledged(first.token)
    assert [(p.topic, p.payload) for p in drain(outbox)] == [("command", b"x"), ("round", b"6")]


def test_a_clearing_never_comes_after_the_bulk_that_took_over_its_topics() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([("m/0", b"old"), ("m/1", b"old")], tag="old", retained=True)
    drain(outbox)
    outbox.drop_bulk("old")
    outbox.publish_bulk([("m/0", b"new"), ("m/1", b"new")], tag="new", retained=True)
    take(outbox)  # the clearing is on its way
    outbox.disconnected()
    connect(outbox)
    last = {packet.topic: packet.payload for packet in drain(outbox)}
    assert last == {"m/0": b"new", "m/1": b"new"}


def test_dropping_clears_only_what_was_sent() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"m/{i}", b"x") for i in range(9)], tag="m", retained=True)
    sent = take(outbox)
    outbox.drop_bulk("m")
    for packet in sent:
        outbox.acknowledged(packet.token)
    assert [(p.topic, p.payload) for p in drain(outbox)] == [("m/0", b""), ("m/1", b"")]
    assert outbox.is_drained
    assert outbox.take_events() == []


def test_unacknowledged_chunks_go_again_and_acknowledged_ones_do_not() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"c/{i}", b"x") for i in range(5)], tag="t")
    outbox.acknowledged(take(outbox)[0].token)
    assert topics(take(outbox)) == ["c/2"]  # c/1 and c/2 are on their way
    outbox.disconnected()
    connect(outbox)
    assert topics(drain(outbox)) == ["c/1", "c/2", "c/3", "c/4"]
    assert outbox.take_events() == [BulkDone("t")]


def test_a_retained_bulk_starts_over_on_a_new_connection_without_being_told_again() -> None:
    outbox = make()
    outbox.publish_bulk([("m/0", b"x"), ("m/1", b"x")], tag="m", retained=True)
    for told in ([BulkDone("m")], []):
        connect(outbox)
        assert topics(drain(outbox)) == ["m/0", "m/1"]
        assert outbox.take_events() == told
        outbox.disconnected()


def test_dropping_in_mid_republication_clears_all_that_was_ever_sent() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"m/{i}", b"x") for i in range(4)], tag="m", retained=True)
    drain(outbox)
    outbox.disconnected()
    connect(outbox)
    assert outbox.next_packet() is not None
    outbox.drop_bulk("m")
    assert topics(drain(outbox)) == ["m/0", "m/1", "m/2", "m/3"]


def test_a_refused_bulk_ends_and_the_next_one_follows() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish_bulk([(f"a/{i}", b"x") for i in range(3)], tag="a")
    outbox.publish_bulk([("b", b"x")], tag="b")
    first, second = take(outbox)
    outbox.refused(first.token, "Not authorized")
    outbox.refused(second.token, "Not authorized")
    assert topics(drain(outbox)) == ["b"]
    assert outbox.take_events() == [Refused("a/0", "Not authorized", "a"), BulkDone("b")]
    outbox.publish_bulk([("a", b"x")], tag="a")


def test_what_a_brokers_smaller_limit_forbids_is_refused_and_the_rest_goes_on() -> None:
    outbox = make()
    outbox.publish("big", bytes(500), 1)
    outbox.publish_retained("big/state", bytes(500))
    outbox.publish_bulk([("c/0", b"x"), ("c/1", bytes(500))], tag="t")
    outbox.publish("small", b"x", 1)
    outbox.connected(window=20, largest_packet_bytes=100)
    assert topics(drain(outbox)) == ["small", "c/0"]
    told = outbox.take_events()
    assert [event.topic for event in told if isinstance(event, Refused)] == [
        "big/state",
        "big",
        "c/1",
    ]
    assert len(told) == 3
    assert outbox.is_drained


def test_a_message_of_exactly_the_limit_goes_out_and_one_byte_more_does_not() -> None:
    outbox = make()
    connect(outbox)
    outbox.publish("t", bytes(LARGEST - packet_bytes("t", b"")), 1)
    assert len(take(outbox)) == 1
    with pytest.raises(Exception, match="chunks"):
        outbox.publish("t", bytes(LARGEST - packet_bytes("t", b"") + 1), 1)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda outbox: outbox.publish("t", b"x", 2),
        lambda outbox: outbox.publish_retained("t", b""),
        lambda outbox: outbox.publish_bulk([("t", b"")], tag="t", retained=True),
    ],
)
def test_misuse_is_refused(misuse: Callable[[Outbox], None]) -> None:
    with pytest.raises(ValueError, match=r"QoS|clear_retained|empty retained"):
        misuse(make())


class AnyOrder(RuleBasedStateMachine):
    """The outbox against a broker that loses connections, and sometimes its memory, at any time."""

    LIMITS = LinkLimits(
        queued_messages=8, queued_bytes=400, retained_topics=4, bulk_bytes=300, window=5
    )
    NAMES = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(self.LIMITS, LARGEST)
        self.is_connected = False
        self.wire: list[Packet] = []
        """Written, and not yet at the broker."""
        self.arrived: list[Packet] = []
        """At the broker, and not yet acknowledged."""
        self.retained: dict[str, bytes] = {}
        self.received: list[int] = []
        self.chunks: set[bytes] = set()
        self.counter = 0
        self.accepted: list[int] = []
        self.state: dict[str, bytes] = {}
        self.bulks: dict[str, tuple[dict[str, bytes], bool]] = {}
        self.owed: dict[str, int] = {}
        """Bulks by tag for which BulkDone may still come."""

    def fresh(self) -> bytes:
        self.counter += 1
        return b"%06d" % self.counter

    @rule()
    def publish(self) -> None:
        payload = self.fresh()
        try:
            self.outbox.publish("single", payload, 1)
        except LinkOverflow:
            return
        self.accepted.append(int(payload))

    @rule(name=NAMES)
    def publish_retained(self, name: str) -> None:
        payload = self.fresh()
        try:
            self.outbox.publish_retained(f"state/{name}", payload)
        except LinkOverflow:
            return
        self.state[f"state/{name}"] = payload

    @rule(name=NAMES)
    def clear_retained(self, name: str) -> None:
        try:
            self.outbox.clear_retained(f"state/{name}")
        except LinkOverflow:
            return
        self.state.pop(f"state/{name}", None)

    @rule(name=NAMES, retained=st.booleans(), count=st.integers(1, 6))
    def publish_bulk(self, name: str, retained: bool, count: int) -> None:
        # Bulks under one name share their topics: a new version over the old one.
        topic = "kept" if retained else "passing"
        items = {f"{topic}/{name}/{index}": self.fresh() for index in range(count)}
        try:
            self.outbox.publish_bulk(items.items(), tag=name, retained=retained)
        except (LinkOverflow, ValueError):
            return
        self.bulks[name] = (items, retained)
        self.owed[name] = 1

    @rule(name=NAMES)
    def drop_bulk(self, name: str) -> None:
        self.outbox.drop_bulk(name)
        self.bulks.pop(name, None)
        self.owed.pop(name, None)

    @precondition(lambda self: not self.is_connected)
    @rule(window=st.integers(1, 9), forgets=st.booleans())
    def connect(self, window: int, forgets: bool) -> None:
        if forgets:
            self.retained.clear()
        self.outbox.connected(window=window, largest_packet_bytes=LARGEST)
        self.is_connected = True

    @precondition(lambda self: self.is_connected)
    @rule()
    def disconnect(self) -> None:
        self.wire.clear()
        self.arrived.clear()
        self.outbox.disconnected()
        self.is_connected = False

    @rule()
    def write(self) -> None:
        packet = self.outbox.next_packet()
        assert packet is None or self.is_connected
        if packet is not None:
            self.wire.append(packet)

    @precondition(lambda self: self.wire)
    @rule()
    def arrive(self) -> None:
        packet = self.wire.pop(0)
        self.arrived.append(packet)
        if packet.topic == "single":
            self.received.append(int(packet.payload))
        else:
            self.chunks.add(packet.payload)
        if packet.retain and packet.payload:
            self.retained[packet.topic] = packet.payload
        elif packet.retain:
            self.retained.pop(packet.topic, None)

    @precondition(lambda self: self.arrived)
    @rule()
    def acknowledge(self) -> None:
        self.outbox.acknowledged(self.arrived.pop(0).token)

    @invariant()
    def windows_hold(self) -> None:
        in_flight = self.wire + self.arrived
        assert len(in_flight) <= self.LIMITS.window
        chunks = [p for p in in_flight if p.topic.startswith(("kept", "passing"))]
        assert len(chunks) <= self.LIMITS.bulk_window

    @invariant()
    def done_is_told_once(self) -> None:
        for event in self.outbox.take_events():
            assert isinstance(event, BulkDone)
            assert self.owed.pop(event.tag) == 1
            items, retained = self.bulks[event.tag]
            assert set(items.values()) <= self.chunks
            if not retained:
                del self.bulks[event.tag]

    def teardown(self) -> None:
        if not self.is_connected:
            self.connect(9, False)
        for _ in range(1000):
            self.write()
            if self.wire:
                self.arrive()
            if self.arrived:
                self.acknowledge()
        assert self.outbox.is_drained
        self.done_is_told_once()
        assert self.owed == {}
        firsts = list(dict.fromkeys(self.received))
        assert firsts == self.accepted, "every accepted message, in its order"
        expected = dict(self.state)
        for items, retained in self.bulks.values():
            assert retained
            expected.update(items)
        assert self.retained == expected
        # Nothing is held any more but the state: the whole room is there again.
        for _ in range(self.LIMITS.queued_messages):
            self.outbox.publish("single", b"", 1)
        with pytest.raises(LinkOverflow):
            self.outbox.publish("single", b"", 1)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
