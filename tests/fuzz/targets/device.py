"""The device's decisions, by messages of the coordinator that it trusts.

An input is JSON: a list of steps, as for the coordinator. `{"model": version}` publishes the chunks
of a model that is made here, and `"$digest"`, `"$transfer"`, `"$bundle"` stand for what fits it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tiny_bundle
from identities import COORDINATOR, identity_of, key_of
from json_mutation import change_json, json_bytes
from message_examples import nasty_json
from numpy.typing import NDArray
from recipe import scratch

from pfedfrz_edge import bundle_follower as follower_module
from pfedfrz_edge import work_runner as runner_module
from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.bundle_check import BundleCheck
from pfedfrz_edge.bundle_exchange import BundleChecked
from pfedfrz_edge.bundle_follower import BundleFollower
from pfedfrz_edge.bundle_homes import BundleHomes
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.runtimes import StepResult
from pfedfrz_edge.worker import Worker
from pfedfrz_protocol import (
    Group,
    ModelLabel,
    ProtocolError,
    SharedCodec,
    Topics,
    TrainableSet,
    describe_transfer,
    seal_tensors,
    sha256_hex,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import MemoryBroker, MemoryLink, Message
from targets.coordinator import name_in
from targets.signed_messages import sign_body

TOPICS = Topics("lab")
BUNDLE = tiny_bundle.make_bundle()
CODEC = SharedCodec.for_manifest(BUNDLE.manifest)
SHARED = BUNDLE.initial_weights(Group.SHARED)
_DATA = LabelledData(np.ones((4, 6), np.float32), np.array([0, 1, 2, 0]))
_MOST_STEPS = 40
_ARCHIVE = bytes(range(250)) * 1200  # two chunks


class _Flat:
    """A runtime whose gradients are all zero."""

    name = "onnxruntime"

    def gradients(
        self,
        trainable: TrainableSet,
        parameters: Mapping[str, NDArray[np.float32]],
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        weight: NDArray[np.float32],
    ) -> StepResult:
        rows = (row for row in BUNDLE.manifest.parameters if row.group in trainable.groups)
        return StepResult(1.0, 0.0, {r.name: np.zeros(r.shape, np.float32) for r in rows})

    def predict(
        self, parameters: Mapping[str, NDArray[np.float32]], x: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return np.zeros((len(x), 3), np.float32)


class _WorkerAtOnce(Worker):
    """Work that is over when `start` returns, so that an input always does the same."""

    def start(self) -> None:
        self._run()

    def join(self, timeout_s: float) -> None:
        return


class _CheckAtOnce(BundleCheck):
    """An examination that finds a fault; no process is started."""

    def start(self) -> None:
        self._post(BundleChecked(self._digest, "examined"))

    def cancel(self) -> None:
        return


class _Room:
    """A device on a broker in memory, and a clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        state = scratch() / "device"
        shutil.rmtree(state, ignore_errors=True)
        settings = DeviceSettings(
            "lab", "me", state / "b.pfz", state, DataSettings("x.npz"),
            coordinator_key=key_of(COORDINATOR).public,
        )  # fmt: skip
        self.link = MemoryLink(MemoryBroker(), "me")
        homes = BundleHomes(state, BUNDLE)
        follower = BundleFollower(settings, state / "device.toml", homes, self.link, "boot")
        self.agent = DeviceAgent(
            settings, BUNDLE, _Flat(), LocalData(_DATA, _DATA, 3), self.link, "boot",
            identity_of("me"), clock=lambda: self.now_s, follower=follower,
        )  # fmt: skip
        self.link.start()
        while self.link.poll(0) is not None:
            pass

    def turn(self) -> None:
        for _ in range(12):
            self.link.post(None)
            self.agent._turn()

    def hear(self, topic: str, payload: bytes, retained: bool = False) -> None:
        self.agent._on_message(Message(topic, payload, retained))


def _model(version: Any, scale: Any = 1) -> tuple[bytes, str]:
    number = version if isinstance(version, int) else 0
    fits = isinstance(scale, int | float) and abs(scale) < 1e38
    factor = np.float32((1 + number % 100) * (scale if fits else np.nan))
    tensors = {name: array * factor for name, array in SHARED.items()}
    payload = CODEC.encode(tensors, ModelLabel(number))
    return seal_tensors(payload, key_of(COORDINATOR)), tensors_digest(tensors)


def _filled(value: Any, step: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {k: _filled(v, step) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled(v, step) for v in value]
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    payload, digest = _model(step.get("version", 0), step.get("scale", 1))
    transfer = describe_transfer(payload)
    known: dict[str, Any] = {
        "$bundle": BUNDLE.manifest.digest,
        "$digest": digest,
        "$transfer": {"payload_bytes": transfer.payload_bytes, "sha256": transfer.sha256},
        "$archive": {"payload_bytes": len(_ARCHIVE), "sha256": sha256_hex(_ARCHIVE)},
        "$key": key_of(name_in(step, "by", COORDINATOR)).public,
    }
    return known.get(value, value)


_TOPIC: dict[str, Callable[[], str]] = {
    "round": lambda: TOPICS.round,
    "control": lambda: TOPICS.control,
    "bundle": lambda: TOPICS.bundle,
    "status": lambda: TOPICS.coordinator_status,
    "command": lambda: TOPICS.device("me", "command"),
}


def _do(room: _Room, step: dict[str, Any]) -> None:
    if "wait_s" in step:
        seconds = step["wait_s"]
        if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
            room.now_s += seconds
    elif "model" in step:
        version = step["model"]
        payload, _ = _model(version, step.get("scale", 1))
        shift = step.get("shift", 0)
        for place, chunk in enumerate(split_chunks(payload)):
            place += shift if isinstance(shift, int) else 0
            content = chunk[:-1] if step.get("short") else chunk
            number = version if isinstance(version, int) else 0
            room.hear(TOPICS.model_chunk(number, place), content)
    elif "archive" in step:
        for place, chunk in enumerate(split_chunks(_ARCHIVE)):
            content = chunk[:-1] + b"?" if step.get("lie") else chunk
            room.hear(TOPICS.bundle_chunk(str(step["archive"]), place), content)
    elif "topic" in step:
        room.hear(str(step["topic"]), json_bytes(step.get("body")))
    else:
        topic = _TOPIC.get(str(step.get("say")), _TOPIC["round"])()
        body = json_bytes(_filled(step.get("body", {}), step))
        payload = sign_body(body, topic, name_in(step, "by", COORDINATOR))
        room.hear(topic, payload, bool(step.get("retained")))


def target(data: bytes) -> None:
    """Whatever is said, nothing is raised and the session is in a state of its table."""
    try:
        steps = json.loads(data)
    except (ValueError, RecursionError):
        steps = [{"topic": TOPICS.round, "body": data.decode("latin-1")}]
    before, runner_module.Worker = runner_module.Worker, _WorkerAtOnce  # type: ignore[misc]
    follower_module.BundleCheck = _CheckAtOnce  # type: ignore[misc]
    room = _Room()
    try:
        with np.errstate(all="ignore"):
            for step in steps[:_MOST_STEPS] if isinstance(steps, list) else ():
                if isinstance(step, dict):
                    _do(room, step)
                    room.turn()
            room.now_s += 20.0
            room.turn()
        assert room.agent._session.state.value
    except ProtocolError as error:
        raise AssertionError("a peer's fault came out") from error
    finally:
        runner_module.Worker = before  # type: ignore[misc]
        follower_module.BundleCheck = BundleCheck  # type: ignore[misc]
        room.link.close(timeout_s=0)


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    return change_json(data, limit, seed)


def announced(number: int, **changes: Any) -> dict[str, Any]:
    version = number - 1
    body = {
        "round": number, "epoch": 100, "bundle": "$bundle", "purpose": "train",
        "model": {"version": version, "digest": "$digest", "transfer": "$transfer"},
        "selected": ["me"], "deadline_s": 60.0,
    }  # fmt: skip
    return {"say": "round", "version": version, "body": {**body, **changes}}


def offered(serial: int, **changes: Any) -> dict[str, Any]:
    body = {"serial": serial, "bundle": "ab" * 32, "transfer": "$archive"}
    return {"say": "bundle", "body": {**body, **changes}}


def commanded(kind: str, number: int, **more: Any) -> dict[str, Any]:
    body = {"type": kind, "round": number, "epoch": 100, **more}
    return {"say": "command", "body": body}


def seeds() -> dict[str, bytes]:
    train = [announced(1), {"model": 0}]
    rejected = commanded("rejected", 1, reason="late", detail="too\nlate \u202e")
    status = {
        "presence": "online", "bundle": "$bundle", "epoch": 100, "key": "$key", "successions": [],
    }  # fmt: skip
    runs: dict[str, list[dict[str, Any]]] = {
        "round": [*train, commanded("grant", 1), commanded("accepted", 1)],
        "two-rounds": [*train, commanded("grant", 1), commanded("accepted", 1), announced(2), {"model": 1}],
        "rejected": [*train, commanded("grant", 1), rejected],
        "evaluate": [announced(1, purpose="evaluate"), {"model": 0}],
        "reopened": [*train, announced(1, epoch=101), commanded("grant", 1)],
        "superseded": [announced(1), announced(2), {"model": 0}, {"model": 1}],
        "short-chunk": [announced(1), {"model": 0, "short": True}, {"model": 0}],
        "stray-chunk": [announced(1), {"model": 0, "shift": 3}, {"model": 0, "shift": 999_999_999}],
        "nan-model": [{**announced(1), "scale": "nan"}, {"model": 0, "scale": "nan"}],
        "huge-model": [{**announced(1), "scale": 1e37}, {"model": 0, "scale": 1e37}],
        "huge-claim": [announced(1, model={"version": 0, "digest": "0" * 64, "transfer": {"payload_bytes": 2**48, "sha256": "0" * 64}})],
        "empty-claim": [announced(1, model={"version": 0, "digest": "0" * 64, "transfer": {"payload_bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}), {"topic": "pfedfrz-bin/v1/lab/model/0/0"}],
        "spans": [*train, commanded("grant", 1, chunks=[[0, 999_999_999], [5, 2]])],
        "no-such-chunk": [*train, commanded("grant", 1, chunks=[[7, 9]])],
        "stop": [announced(1), {"say": "control", "body": {"desired": "stop", "epoch": 100}}],
        "old-stop": [{"say": "control", "retained": True, "body": {"desired": "stop", "epoch": 1}}],
        "foreign-bundle": [announced(1, bundle="0" * 64)],
        "forged": [{**announced(1), "by": "somebody"}, {"say": "status", "by": "somebody", "body": status}],
        "status": [{"say": "status", "body": status}],
        "not-admitted": [{"say": "command", "body": {"type": "not-admitted", "reason": "revoked", "detail": "x"}}],
        "offer": [offered(5), {"archive": "ab" * 32}, offered(5)],
        "offer-lying-chunk": [offered(5), {"archive": "ab" * 32, "lie": True}, {"archive": "ab" * 32}],
        "offer-superseded": [offered(5), offered(6, bundle="cd" * 32), offered(4), {"archive": "ab" * 32}],
        "offer-of-its-own": [offered(5, bundle="$bundle"), *train],
        "offer-huge": [offered(5, transfer={"payload_bytes": 2**48, "sha256": "0" * 64})],
        "offer-forged": [{**offered(5), "by": "somebody"}, {"archive": "ab" * 32}],
        "negative": [announced(1, epoch=-1), announced(-1)],
        "path-trick": [announced(1, selected=["../me", "me"])],
    }  # fmt: skip
    found = {name: json_bytes(steps) for name, steps in runs.items()}
    for name in ("duplicated-keys", "lone-surrogate", "huge-number", "bad-utf-8"):
        found[f"bytes-{name}"] = nasty_json()[name]
    return found
