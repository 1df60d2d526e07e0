"""Who can write and read what, on a real Mosquitto with the generated files, over TLS.

What a broker answers proves nothing: Mosquitto grants a subscription to `#` and filters what it
delivers. Proof is what arrives. Every denial below is followed, on the same connection, by what is
allowed: once that has arrived, the denied message would have been there before it.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from provisioned_lab import FEDERATION, Ear, Lab

from pfedfrz_protocol import Topics
from pfedfrz_provision import Accounts

TOPICS = Topics(FEDERATION)
A, B = "device-00", "device-01"
OPERATOR = "anna"
EVERYTHING = ("#", "pfedfrz/#", "pfedfrz-bin/#")
LEAVES = ("status", "heartbeat", "metrics", "event")


@pytest.fixture(scope="module", params=list(Accounts), ids=lambda accounts: accounts.value)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    place = tmp_path_factory.mktemp("fleet") / "lab"
    with Lab(place, request.param, operators=(OPERATOR, "ben")) as lab:
        yield lab


def token() -> bytes:
    return uuid.uuid4().hex.encode()


def publish(sender: Ear, topic: str, payload: bytes, *, retained: bool = False) -> None:
    if retained:
        sender.link.publish_retained(topic, payload)
    else:
        sender.link.publish(topic, payload)


def everyone(lab: Lab) -> dict[str, Ear]:
    """All members with subscriptions to all there is."""
    ears = {name: lab.join(name, *EVERYTHING) for name in (A, B, "monitor", "coordinator")}
    # A link asks for its subscriptions before it publishes, so the coordinator's are taken as well.
    settle(ears)
    return ears


def settle(ears: dict[str, Ear]) -> None:
    """Return once the broker has taken everybody's subscriptions: what is not heard is denied."""
    mark = token()
    publish(ears["coordinator"], TOPICS.control, mark, retained=True)
    for name in (A, B, "monitor"):
        ears[name].until(TOPICS.control, mark)


def leave(ears: dict[str, Ear]) -> None:
    for ear in ears.values():
        ear.link.close(timeout_s=2.0)


def flush(ears: dict[str, Ear], sender: str, *, gone: tuple[str, ...] = ()) -> None:
    """Return once all that `sender` published before has reached whoever gets it."""
    mark = token()
    if sender == "coordinator":
        # On the JSON root for the monitor and devices; order holds for a publisher and receiver.
        publish(ears[sender], TOPICS.metrics, mark)
        for name in {"monitor", A, B} - set(gone):
            ears[name].until(TOPICS.metrics, mark)
    else:
        publish(ears[sender], TOPICS.device(sender, "heartbeat"), mark)
        for name in ("coordinator", "monitor"):
            ears[name].until(TOPICS.device(sender, "heartbeat"), mark)
        # Those who may not hear a device hear the coordinator, who speaks after it.
        flush(ears, "coordinator")


FORBIDDEN_TO_A_DEVICE = [
    *(TOPICS.device(B, leaf) for leaf in (*LEAVES, "command")),
    TOPICS.update_chunk(B, 1, 0),
    TOPICS.device(A, "command"),
    TOPICS.device("stranger", "status"),
    TOPICS.coordinator_status,
    TOPICS.round,
    TOPICS.control,
    TOPICS.metrics,
    TOPICS.model_chunk(1, 0),
    TOPICS.bundle,
    TOPICS.bundle_chunk("ab" * 32, 0),
    TOPICS.history,
    TOPICS.members,
    *(TOPICS.operator(name, leaf) for name in (OPERATOR, A) for leaf in ("request", "answer")),
    Topics("other").device(A, "status"),
    Topics("other").round,
    f"pfedfrz/v1/{FEDERATION}/device/{A}/other",
    f"pfedfrz-bin/v1/{FEDERATION}/device/{A}/model/1/0",
    "pfedfrz",
    "anything",
]


def test_a_device_is_heard_as_itself_and_as_nobody_else(lab: Lab) -> None:
    ears = everyone(lab)
    for retained in (False, True):
        forged = token()
        for topic in FORBIDDEN_TO_A_DEVICE:
            publish(ears[A], topic, forged, retained=retained)
        flush(ears, A)
        for name, ear in ears.items():
            assert [m.topic for m in ear.heard if m.payload == forged] == [], name
    # What was retained would be there for who comes later, too.
    leave(ears)
    ears = everyone(lab)
    assert all(m.payload != forged for ear in ears.values() for m in ear.heard)
    leave(ears)


def test_what_a_device_may_say_arrives(lab: Lab) -> None:
    ears = everyone(lab)
    for topic in (*(TOPICS.device(A, leaf) for leaf in LEAVES), TOPICS.update_chunk(A, 3, 7)):
        said = token()
        publish(ears[A], topic, said)
        ears["coordinator"].until(topic, said)
    flush(ears, A)
    assert ears[A].refused == []
    leave(ears)


def test_a_device_reads_nothing_of_another(lab: Lab) -> None:
    shared = ("$share/spies/#", "$share/spies/pfedfrz-bin/#")
    ears = everyone(lab)
    ears[A].link.close(timeout_s=2.0)
    ears[A] = lab.join(
        A,
        *EVERYTHING,
        *shared,
        TOPICS.device(B, "command"),
        TOPICS.updates_of(B),
        TOPICS.every_update_chunk,
        "+/+/+/+/+/+",
        "$SYS/#",
    )
    settle(ears)
    secret = token()
    for topic in (*(TOPICS.device(B, leaf) for leaf in LEAVES), TOPICS.update_chunk(B, 1, 0)):
        publish(ears[B], topic, secret)
    publish(ears["coordinator"], TOPICS.device(B, "command"), secret)
    ears["coordinator"].until(TOPICS.update_chunk(B, 1, 0), secret)
    ears[B].until(TOPICS.device(B, "command"), secret)
    flush(ears, B)
    assert [m.topic for m in ears[A].heard if m.payload == secret] == []
    allowed = {
        *(TOPICS.coordinator_status, TOPICS.round, TOPICS.control, TOPICS.metrics),
        TOPICS.bundle,
        TOPICS.device(A, "command"),
    }
    assert set(ears[A].topics) <= allowed
    leave(ears)


def test_what_the_coordinator_says_arrives_where_it_should(lab: Lab) -> None:
    ears = everyone(lab)
    for topic in (
        *(TOPICS.coordinator_status, TOPICS.round, TOPICS.control, TOPICS.metrics),
        TOPICS.bundle,
        TOPICS.model_chunk(2, 5),
        TOPICS.bundle_chunk("ab" * 32, 0),
    ):
        said = token()
        publish(ears["coordinator"], topic, said, retained=True)
        for device in (A, B):
            ears[device].until(topic, said)
        if topic.startswith("pfedfrz/"):
            ears["monitor"].until(topic, said)
    said = token()
    publish(ears["coordinator"], TOPICS.device(A, "command"), said)
    ears[A].until(TOPICS.device(A, "command"), said)
    assert ears["coordinator"].refused == []
    leave(ears)


def test_the_coordinator_speaks_for_no_device(lab: Lab) -> None:
    ears = everyone(lab)
    forged = token()
    for topic in (TOPICS.device(A, "status"), TOPICS.update_chunk(A, 1, 0), "anything"):
        publish(ears["coordinator"], topic, forged)
    flush(ears, "coordinator")
    assert all(m.payload != forged for ear in ears.values() for m in ear.heard)
    leave(ears)


def test_a_monitor_reads_all_json_no_tensor_and_writes_nothing(lab: Lab) -> None:
    ears = everyone(lab)
    said = token()
    publish(ears[A], TOPICS.device(A, "event"), said)
    publish(ears[A], TOPICS.update_chunk(A, 1, 0), said)
    publish(ears["coordinator"], TOPICS.model_chunk(1, 0), said)
    for topic in (
        *(TOPICS.control, TOPICS.device(A, "command"), TOPICS.device(A, "event"), "any"),
        *(TOPICS.operator(name, "request") for name in (OPERATOR, "monitor")),
        *(TOPICS.operator(OPERATOR, "answer"), TOPICS.members, TOPICS.history),
    ):
        publish(ears["monitor"], topic, b"from the monitor")
    ears[A].until(TOPICS.model_chunk(1, 0), said)
    ears["coordinator"].until(TOPICS.update_chunk(A, 1, 0), said)
    flush(ears, A)
    assert {t for t in ears["monitor"].topics if not t.startswith("pfedfrz/v1/lab/")} == set()
    assert TOPICS.device(A, "event") in ears["monitor"].topics
    # The monitor's own writes: on its connection, before the broker's answer to what comes next.
    ears["monitor"].link.subscribe(TOPICS.round)
    mark = token()
    publish(ears["coordinator"], TOPICS.round, mark, retained=True)
    ears["monitor"].until(TOPICS.round, mark)
    flush(ears, "coordinator")
    assert all(m.payload != b"from the monitor" for ear in ears.values() for m in ear.heard)
    leave(ears)


def test_an_operator_asks_as_itself_hears_all_json_and_says_nothing_else(lab: Lab) -> None:
    ears = everyone(lab)
    anna = ears[OPERATOR] = lab.join(OPERATOR, *EVERYTHING)
    forged, asked = token(), token()
    for topic in (
        *(TOPICS.operator("ben", "request"), TOPICS.operator(OPERATOR, "answer")),
        *(TOPICS.control, TOPICS.round, TOPICS.members, TOPICS.history, TOPICS.metrics),
        *(TOPICS.device(A, "command"), TOPICS.device(A, "status"), TOPICS.update_chunk(A, 1, 0)),
        Topics("other").operator(OPERATOR, "request"),
        f"pfedfrz/v1/{FEDERATION}/operator/{OPERATOR}/request/more",
    ):
        publish(anna, topic, forged)
    request, answer = (TOPICS.operator(OPERATOR, leaf) for leaf in ("request", "answer"))
    publish(anna, request, asked)
    ears["coordinator"].until(request, asked)
    ears["monitor"].until(request, asked)  # whoever watches sees who asks for what
    said = token()
    publish(ears["coordinator"], answer, said)
    for topic in (TOPICS.members, TOPICS.history):
        publish(ears["coordinator"], topic, said, retained=True)
    for name in (OPERATOR, "monitor"):
        for topic in (answer, TOPICS.members, TOPICS.history):
            ears[name].until(topic, said)
    publish(ears[A], TOPICS.update_chunk(A, 1, 0), said)
    publish(ears["coordinator"], TOPICS.model_chunk(1, 0), said)
    ears["coordinator"].until(TOPICS.update_chunk(A, 1, 0), said)
    ears[A].until(TOPICS.model_chunk(1, 0), said)
    flush(ears, A)
    anna.until(TOPICS.metrics, ears["monitor"].heard[-1].payload)
    assert all(m.payload != forged for ear in ears.values() for m in ear.heard)
    assert {t for t in anna.topics if not t.startswith(f"pfedfrz/v1/{FEDERATION}/")} == set()
    # Devices hear nothing of it.
    for name in (A, B):
        assert not {t for t in ears[name].topics if "operator" in t or t == TOPICS.members}
    leave(ears)


def raw_client(lab: Lab, name: str, protocol: MQTTProtocolVersion) -> Client:
    """A client that is not connected yet, with a member's account."""
    access = lab.access(name)
    client = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    context = ssl.create_default_context(cafile=access.options.ca_file)
    if access.options.certificate_file is not None:
        context.load_cert_chain(access.options.certificate_file, access.options.key_file)
    client.tls_set_context(context)
    if access.address.username is not None:
        client.username_pw_set(access.address.username, access.address.password)
    return client


def connect(client: Client, lab: Lab) -> None:
    client.connect("localhost", lab.port)
    while not client.is_connected():
        client.loop(0.1)


def die(lab: Lab, name: str, topic: str, payload: bytes) -> None:
    """Connect with a will and vanish without a goodbye."""
    client = raw_client(lab, name, MQTTProtocolVersion.MQTTv5)
    client.will_set(topic, payload, qos=1)
    connect(client, lab)
    connection = client.socket()
    assert isinstance(connection, ssl.SSLSocket)
    connection.close()


def test_an_older_protocol_is_no_way_round(lab: Lab) -> None:
    """With MQTT 3.1.1 a denied message is acknowledged like any other."""
    ears = everyone(lab)
    ears[A].link.close(timeout_s=2.0)
    client = raw_client(lab, A, MQTTProtocolVersion.MQTTv311)
    connect(client, lab)
    forged = token()
    for topic in (*FORBIDDEN_TO_A_DEVICE, TOPICS.device(A, "event")):
        told = client.publish(topic, forged, qos=1)
        while not told.is_published():
            client.loop(0.1)
    ears["coordinator"].until(TOPICS.device(A, "event"), forged)
    flush(ears, "coordinator", gone=(A,))
    for ear in ears.values():
        heard = {m.topic for m in ear.heard if m.payload == forged}
        assert heard <= {TOPICS.device(A, "event")}
    client.disconnect()
    connection = client.socket()
    if connection is not None:
        connection.close()
    leave(ears)


def test_a_last_will_speaks_for_its_owner_only(lab: Lab) -> None:
    ears = everyone(lab)
    ears[A].link.close(timeout_s=2.0)
    forged = token()
    for topic in (TOPICS.device(B, "status"), TOPICS.round, TOPICS.device(A, "status")):
        die(lab, A, topic, forged)
    ears["coordinator"].until(TOPICS.device(A, "status"), forged)
    ears["monitor"].until(TOPICS.device(A, "status"), forged)
    for name in ("coordinator", "monitor", B):
        heard = {m.topic for m in ears[name].heard if m.payload == forged}
        assert heard <= {TOPICS.device(A, "status")}
    leave(ears)


def test_another_s_client_id_neither_puts_it_out_nor_gets_its_mail(lab: Lab) -> None:
    ears = everyone(lab)
    ears[A].link.close(timeout_s=2.0)
    thief = ears[A] = lab.join(A, *EVERYTHING, client_id=ears[B].link.client_id)
    settle(ears)
    secret = token()
    publish(ears["coordinator"], TOPICS.device(B, "command"), secret)
    ears[B].until(TOPICS.device(B, "command"), secret)
    mark = token()
    publish(ears["coordinator"], TOPICS.device(A, "command"), mark)
    thief.until(TOPICS.device(A, "command"), mark)
    assert ears[B].downs == 0
    assert secret not in {m.payload for m in thief.heard}
    leave(ears)
