"""A device that knows docs/protocol.md alone takes part in a federation of the real coordinator.

It has a link to carry bytes and the second implementation; nothing else of it is the coordinator's.
It joins, fetches, trains (all weights move by a little), uploads in each encoding, rotates its key
after the first round, and evaluates.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import second_implementation as second
from tiny_bundle import make_bundle

from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.service import CoordinatorService, coordinator_will
from pfedfrz_storage import load_or_make_identity
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

ROOT = "pfedfrz/v1/lab"
BINARY = "pfedfrz-bin/v1/lab"
PATIENCE_S = 20.0
BUNDLE = make_bundle()
Json = dict[str, Any]


@dataclass
class SecondDevice:
    """What a client in another language would be."""

    link: MemoryLink
    layout: list[tuple[str, tuple[int, ...]]]
    bundle: str
    encoding: str
    seed: bytes = hashlib.sha256(b"a device of another language").digest()
    successions: list[Json] = field(default_factory=list)
    trusted: str = ""
    announced: Json = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    model: dict[str, list[float]] = field(default_factory=dict)
    sealed: bytes = b""
    unproved: list[tuple[str, bytes]] = field(default_factory=list)
    is_over: bool = False

    def topic(self, leaf: str) -> str:
        return f"{ROOT}/device/gopher/{leaf}"

    def run(self) -> None:
        """Take part until the end."""
        for topic in ("coordinator/status", "round", "control", "device/gopher/command"):
            self.link.subscribe(f"{ROOT}/{topic}")
        self.link.start()
        self.say_status()
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_over:
            assert time.monotonic() < deadline, self.heard
            event = self.link.poll(0.1)
            if isinstance(event, Message) and event.payload:
                self.take(event.topic, event.payload)

    def say_status(self) -> None:
        status = {
            "presence": "online",
            "boot_id": "boot-1",
            "bundle": self.bundle,
            "runtime": "by-hand",
            "samples": 50,
            "key": second.public_key(self.seed),
            "successions": self.successions,
        }
        topic = self.topic("status")
        self.link.publish_retained(topic, second.write_message(status, topic, self.seed))

    def say(self, event: Json) -> None:
        topic = self.topic("event")
        self.link.publish(topic, second.write_message(event, topic, self.seed))

    def take(self, topic: str, payload: bytes) -> None:
        if topic == f"{ROOT}/coordinator/status":
            key = json.loads(payload)["key"]
            second.read_message(payload, topic, key)
            self.trusted = self.trusted or key
            waiting, self.unproved = self.unproved, []
            for message in waiting:
                self.take(*message)
        elif topic.startswith(f"{BINARY}/model/"):
            self.on_chunk(payload)
        elif not self.trusted:
            self.unproved.append((topic, payload))
        else:
            message = second.read_message(payload, topic, self.trusted)
            if topic == f"{ROOT}/round":
                self.on_round(message)
            elif topic == f"{ROOT}/control":
                self.is_over = message["desired"] == "stop" and bool(self.announced)
            else:
                self.heard.append(message["type"])
                if message["type"] == "grant":
                    self.upload(message)
                elif message["type"] == "accepted" and message["round"] == 1:
                    self.rotate()

    def on_round(self, announced: Json) -> None:
        assert announced["bundle"] == self.bundle
        if "gopher" in announced["selected"] and announced != self.announced:
            self.announced = announced
            version = announced["model"]["version"]
            self.link.subscribe(f"{BINARY}/model/{version}/0")

    def on_chunk(self, sealed: bytes) -> None:
        announced, model = self.announced, self.announced["model"]
        self.link.unsubscribe(f"{BINARY}/model/{model['version']}/0")
        assert second.transfer_of(sealed) == model["transfer"]
        head, body = second.open_sealed(sealed, self.trusted)
        assert head.header["label"] == {"type": "model", "version": model["version"]}
        self.model = second.read_tensors(head.header, body, self.layout)
        assert second.model_digest(self.layout, self.model) == model["digest"]
        answer = {"round": announced["round"], "epoch": announced["epoch"], "boot_id": "boot-1"}
        report = {"samples": 50, "received": 0.5}
        if announced["purpose"] == "evaluate":
            self.say({"type": "evaluated", **answer, "report": report})
            return
        trained = {name: [n + 0.125 for n in numbers] for name, numbers in self.model.items()}
        header, packed = second.write_body(self.encoding, self.layout, trained, self.model)
        label = {
            "type": "update",
            "device": "gopher",
            "boot_id": "boot-1",
            "round": announced["round"],
            "samples": 50,
            "base": model["digest"],
        }
        head_bytes = second.write_head({**header, "label": label})
        self.sealed = second.seal(head_bytes, packed, self.seed)
        transfer = second.transfer_of(self.sealed)
        ready = {**answer, "base": model["digest"], "transfer": transfer, "report": report}
        self.say({"type": "ready", **ready})

    def upload(self, grant: Json) -> None:
        chunks = second.chunks_of(self.sealed)
        for number in second.granted(grant["chunks"], len(chunks)):
            topic = f"{BINARY}/device/gopher/update/{grant['round']}/{number}"
            self.link.publish(topic, chunks[number])

    def rotate(self) -> None:
        new = hashlib.sha256(self.seed).digest()
        successor = second.public_key(new)
        signature = second.sign(self.seed, "succession/lab/device/gopher", successor.encode())
        self.successions.append(
            {
                "previous": second.public_key(self.seed),
                "successor": successor,
                "signature": signature.hex(),
            }
        )
        self.seed = new
        self.say_status()


def coordinator(directory: Path, broker: MemoryBroker) -> CoordinatorService:
    """The real one, for three rounds of training and one of evaluation."""
    settings = CoordinatorSettings("lab", Path("unused"), directory, rounds=RoundPolicy(rounds=3))
    identity = load_or_make_identity(settings.key_path)
    will = coordinator_will(settings, BUNDLE, identity)
    link = MemoryLink(broker, "coordinator", will=will)
    return CoordinatorService(settings, BUNDLE, link, identity)


@pytest.mark.parametrize("encoding", ["float32", "delta-float16", "delta-int8"])
def test_it_takes_part_from_its_first_round_to_the_end(tmp_path: Path, encoding: str) -> None:
    broker = MemoryBroker()
    shared = [row for row in BUNDLE.manifest.parameters if row.group.value == "shared"]
    layout = [(row.name, row.shape) for row in shared]
    device = SecondDevice(
        MemoryLink(broker, "lab.device.gopher"), layout, BUNDLE.manifest.digest, encoding
    )
    service = coordinator(tmp_path, broker)
    with ThreadPoolExecutor(1) as pool:
        taking_part = pool.submit(device.run)
        taking_part.add_done_callback(lambda done: done.exception() and service.interrupt())
        assert service.run() is True
        taking_part.result()
    device.link.close()
    assert device.heard == ["grant", "accepted"] * 3
    assert device.announced["purpose"] == "evaluate"
    journal = Journal(tmp_path / "journal.sqlite", read_only=True)
    closed = [row.metrics for row in journal.rounds() if row.metrics]
    journal.close()
    assert [metrics.accepted for metrics in closed] == [1, 1, 1, 0]
    assert [metrics.received_mean for metrics in closed] == [0.5] * 4
    weights = BUNDLE.initial_weights(shared[0].group)
    for name, numbers in device.model.items():
        wanted = [float(weight) + 3 * 0.125 for weight in weights[name].ravel()]
        assert numbers == pytest.approx(wanted, abs=2e-3)
