"""The coordinator's decisions, by messages of devices whose keys it knows.

An input is JSON: a list of steps, each of which says a message that is then signed, sends chunks of
an update that is made here, or lets time pass. In it `"$bundle"`, `"$epoch"`, `"$round"`, `"$base"`
and `"$transfer"` stand for what the coordinator expects.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import tiny_bundle
from identities import COORDINATOR, identity_of, key_of
from json_mutation import change_json, json_bytes
from message_examples import nasty_json
from recipe import scratch

from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_coordinator.service import CoordinatorService
from pfedfrz_coordinator.validation import ValidationPolicy
from pfedfrz_protocol import (
    Encoding,
    Group,
    ProtocolError,
    RejectReason,
    SharedCodec,
    Topics,
    UpdateLabel,
    describe_transfer,
    seal_tensors,
    split_chunks,
)
from pfedfrz_transport import MemoryBroker, MemoryLink
from targets.signed_messages import sign_body

TOPICS = Topics("lab")
BUNDLE = tiny_bundle.make_bundle()
CODEC = SharedCodec.for_manifest(BUNDLE.manifest)
SHARED = BUNDLE.initial_weights(Group.SHARED)
_MOST_STEPS = 40
_REASONS = frozenset(RejectReason)


class _AtOnce:
    """A pool of threads that does everything where it stands."""

    def submit(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)

    def shutdown(self) -> None:
        return


class _Room:
    """A coordinator on a broker in memory, and a clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        state = scratch() / "coordinator"
        shutil.rmtree(state, ignore_errors=True)
        settings = CoordinatorSettings(
            "lab",
            state / "b.pfz",
            state,
            rounds=RoundPolicy(2, start_devices=2, deadline_s=60.0, max_devices=10),
            validation=ValidationPolicy(10_000, 1000.0),
        )
        self.link = MemoryLink(MemoryBroker(), "coordinator")
        self.service = CoordinatorService(
            settings, BUNDLE, self.link, identity_of(COORDINATOR), clock=lambda: self.now_s
        )
        self.service._acceptance._threads = _AtOnce()  # type: ignore[assignment]
        self.link.start()
        while self.link.poll(0) is not None:
            pass

    def turn(self) -> None:
        """Everything that is waiting, and one look at the clock."""
        for _ in range(6):
            self.link.post(None)  # what has no meaning ends the wait
            self.service._turn()

    def close(self) -> None:
        self.service._acceptance.close()
        self.service._registry.close()
        self.service._state.journal.close()
        self.link.close(timeout_s=0)


def name_in(step: dict[str, Any], field: str, other: str = "a") -> str:
    """A name in a step, without what no text on the wire can hold."""
    return str(step.get(field, other)).encode("utf-8", "replace").decode()


def _payload(room: _Room, step: dict[str, Any]) -> bytes:
    """A sealed update of this round, as good or bad as the step says."""
    service = room.service
    scale = step.get("scale", 1)
    factor = np.float32(scale if isinstance(scale, int | float) and abs(scale) < 1e38 else np.nan)
    with np.errstate(all="ignore"):
        tensors = {name: array * factor for name, array in SHARED.items()}
    samples, number = step.get("samples", 5), step.get("round", service._engine.round)
    label = UpdateLabel(
        name_in(step, "label", name_in(step, "device")),
        "boot",
        number if isinstance(number, int) else 0,
        samples if isinstance(samples, int) else 0,
        service._models.reference.digest,
    )
    payload = CODEC.encode(tensors, label, Encoding.FLOAT32)
    return seal_tensors(payload, key_of(name_in(step, "by", name_in(step, "device"))))


def _filled(room: _Room, value: Any, step: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {k: _filled(room, v, step) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(room, v, step) for v in value]
    engine = room.service._engine
    known: dict[str, Callable[[], Any]] = {
        "$bundle": lambda: BUNDLE.manifest.digest,
        "$epoch": lambda: engine.epoch,
        "$round": lambda: engine.round,
        "$base": lambda: room.service._models.reference.digest,
        "$key": lambda: key_of(name_in(step, "device")).public,
        "$transfer": lambda: _transfer(room, step),
    }
    return known[value]() if isinstance(value, str) and value in known else value


def _transfer(room: _Room, step: dict[str, Any]) -> Any:
    with contextlib.suppress(ValueError, OverflowError):
        transfer = describe_transfer(_payload(room, step))
        return {"payload_bytes": transfer.payload_bytes, "sha256": transfer.sha256}
    return None


def _do(room: _Room, step: dict[str, Any]) -> None:
    service, device = room.service, name_in(step, "device")
    if "wait_s" in step:
        seconds = step["wait_s"]
        if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
            room.now_s += seconds
    elif "upload" in step:
        try:
            chunks = split_chunks(_payload(room, step))
        except (ValueError, OverflowError):
            return
        number = step.get("round", service._engine.round)
        number = number if isinstance(number, int) else 0
        for place, chunk in enumerate(chunks):
            cut = chunk[:-1] if step["upload"] == "short" else chunk
            topic = TOPICS.update_chunk(device, number, place)
            service._on_message(topic, cut)
    elif "topic" in step:
        service._on_message(str(step["topic"]), json_bytes(step.get("body")))
    else:
        topic = TOPICS.device(device, name_in(step, "leaf", "event"))
        body = json_bytes(_filled(room, step.get("body", {}), step))
        service._on_message(topic, sign_body(body, topic, name_in(step, "by", device)))


def target(data: bytes) -> None:
    """Whatever devices say, nothing is raised and every refusal has a reason."""
    try:
        steps = json.loads(data)
    except (ValueError, RecursionError):
        steps = [{"topic": TOPICS.device("a", "event"), "body": data.decode("latin-1")}]
    room = _Room()
    try:
        with np.errstate(all="ignore"):
            for step in steps[:_MOST_STEPS] if isinstance(steps, list) else ():
                if isinstance(step, dict):
                    _do(room, step)
                    room.turn()
            room.now_s += 100.0
            room.turn()
        assert set(room.service.ignored) <= _REASONS
        for array in room.service._models.shared.values():
            assert np.isfinite(array).all()
    except ProtocolError as error:
        raise AssertionError("a peer's fault came out") from error
    finally:
        room.close()


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    return change_json(data, limit, seed)


def status(device: str, **changes: Any) -> dict[str, Any]:
    body = {
        "presence": "online", "boot_id": "boot", "bundle": "$bundle", "runtime": "onnxruntime",
        "samples": 5, "key": "$key", "successions": [],
    }  # fmt: skip
    return {"device": device, "leaf": "status", "body": {**body, **changes}}


def ready(device: str, **changes: Any) -> dict[str, Any]:
    report = {
        "samples": 5, "received": 0.5, "local": 0.6, "loss": 1.5, "downloaded_bytes": 100,
        "train_s": 1.0, "evaluate_s": 0.1, "received_loss": None, "local_loss": None,
    }  # fmt: skip
    body = {
        "type": "ready", "round": "$round", "epoch": "$epoch", "boot_id": "boot", "base": "$base",
        "transfer": "$transfer", "report": report,
    }  # fmt: skip
    return {"device": device, "leaf": "event", "body": {**body, **changes}}


def seeds() -> dict[str, bytes]:
    here = [status("a"), status("b")]
    offers = [ready("a"), ready("b")]
    uploads: list[dict[str, Any]] = [
        {"device": "a", "upload": "whole"},
        {"device": "b", "upload": "whole"},
    ]
    evaluated = {
        "device": "a",
        "body": {
            "type": "evaluated", "round": "$round", "epoch": "$epoch", "boot_id": "boot",
            "report": {"samples": 5, "received": 0.5},
        },
    }  # fmt: skip
    failed = {
        "device": "b",
        "body": {
            "type": "failed", "round": "$round", "epoch": "$epoch", "boot_id": "boot",
            "detail": "no\nroom \u202e",
        },
    }  # fmt: skip
    beat = {
        "device": "a", "leaf": "heartbeat",
        "body": {"boot_id": "boot", "state": "idle", "round": 1, "uptime_s": 5.0},
    }  # fmt: skip
    endless = ready("a")
    endless["body"]["report"] = {"samples": 2**48, "loss": 1e308, "downloaded_bytes": 2**48}
    runs = {
        "round": [*here, *offers, *uploads],
        "two-rounds": [*here, *offers, *uploads, *offers, *uploads, evaluated, failed],
        "failed": [*here, failed, ready("a"), uploads[0], beat],
        "nan-update": [*here, {**ready("a"), "scale": "nan"}, {**uploads[0], "scale": "nan"}],
        "huge-update": [*here, {**ready("a"), "scale": 1e37}, {**uploads[0], "scale": 1e37}],
        "many-samples": [*here, {**ready("a"), "samples": 2**48}, {**uploads[0], "samples": 2**48}],
        "not-mine": [*here, {**ready("a"), "label": "b"}, {**uploads[0], "label": "b"}],
        "forged": [*here, {**ready("a"), "by": "b"}, {**uploads[0], "by": "b"}],
        "short-chunk": [*here, *offers, {"device": "a", "upload": "short"}, uploads[1]],
        "huge-claim": [*here, ready("a", transfer={"payload_bytes": 2**48, "sha256": "0" * 64})],
        "wrong-digest": [*here, ready("a", transfer={"payload_bytes": 500, "sha256": "0" * 64})],
        "wrong-base": [*here, ready("a", base="0" * 64)],
        "late": [*here, *offers, {"wait_s": 70}, *uploads],
        "expired": [*here, *offers, {"wait_s": 61}, *offers, *uploads],
        "duplicate": [*here, *offers, *uploads[:1], ready("a"), uploads[0], uploads[1]],
        "endless-numbers": [*here, endless, ready("b"), *uploads],
        "foreign-bundle": [status("a", bundle="0" * 64), status("b")],
        "gone": [*here, status("a", presence="offline"), *offers, *uploads],
        "path-trick": [status("..", boot_id="../x"), {"topic": "pfedfrz/v1/lab/device/../../x/status"}],
        "negative": [*here, ready("a", round=-1), ready("b", epoch=-1)],
    }  # fmt: skip
    found = {name: json_bytes(steps) for name, steps in runs.items()}
    for name in ("duplicated-keys", "lone-surrogate", "huge-number", "bad-utf-8", "not-a-number"):
        found[f"bytes-{name}"] = nasty_json()[name]
    return found
