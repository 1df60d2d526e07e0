"""The yardstick: a plain paho subscriber that counts the bytes of what it receives."""

from __future__ import annotations

import threading
import time
from multiprocessing.connection import Connection as Pipe

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .ledger import Ledger
from .orders import Counted, SubscriberSpec, SubscriberUp

__all__ = ["run_subscriber"]


def run_subscriber(spec: SubscriberSpec, pipe: Pipe) -> None:
    """Count until the pipe says how much to expect, and tell when it is there."""
    ledger = Ledger(spec.ledger)
    is_there, is_up = threading.Event(), threading.Event()
    counted = [0, 0]
    expected = [0]

    def on_message(client: Client, userdata: object, message: MQTTMessage) -> None:
        counted[0] += len(message.payload)
        counted[1] += 1
        ledger.set_arrived(counted[0])
        if counted[0] >= expected[0]:
            is_there.set()

    def on_subscribe(
        client: Client,
        userdata: object,
        packet_identifier: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        is_up.set()

    client = Client(CallbackAPIVersion.VERSION2, "yardstick", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    client.connect(spec.host, spec.port)
    client.subscribe(spec.topic_filter, qos=1)
    client.loop_start()
    is_up.wait()
    pipe.send(SubscriberUp())
    while True:
        order = pipe.recv()
        if not isinstance(order, int):
            break
        counted[:] = [0, 0]
        expected[0] = order
        is_there.clear()
        began = time.process_time()
        pipe.send(SubscriberUp())
        is_there.wait()
        pipe.send(Counted(time.monotonic(), time.process_time() - began, counted[1]))
    client.disconnect()
    client.loop_stop()
