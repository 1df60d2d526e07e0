"""docs/protocol-vectors/ is what the code does, in both directions."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pfedfrz_coordinator.flat import flatten
from pfedfrz_coordinator.validation import Expected, ValidationPolicy, validate_update
from pfedfrz_protocol import (
    BundleOffer,
    Command,
    Control,
    CoordinatorStatus,
    DeviceEvent,
    DeviceStatus,
    Encoding,
    Heartbeat,
    Membership,
    ModelLabel,
    OperatorAnswer,
    OperatorRequest,
    Parameters,
    ProtocolError,
    RoundAnnouncement,
    RoundHistory,
    RoundMetrics,
    SharedCodec,
    SigningKey,
    Succession,
    TensorSpec,
    TransferReference,
    decode_message,
    describe_transfer,
    follow_successions,
    numbers_in,
    open_tensors,
    seal_tensors,
    sha256_hex,
    sign_message,
    split_chunks,
    split_signature,
    tensors_digest,
)

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "protocol-vectors"
Vector = dict[str, Any]
KINDS: dict[str, Any] = {
    "CoordinatorStatus": CoordinatorStatus,
    "Control": Control,
    "RoundAnnouncement": RoundAnnouncement,
    "DeviceStatus": DeviceStatus,
    "Heartbeat": Heartbeat,
    "RoundMetrics": RoundMetrics,
    "BundleOffer": BundleOffer,
    "RoundHistory": RoundHistory,
    "Membership": Membership,
    "OperatorRequest": OperatorRequest,
    "OperatorAnswer": OperatorAnswer,
    **dict.fromkeys(("BundleInstalled", "BundleRefused"), DeviceEvent),
    **dict.fromkeys(("PhaseProgress", "UpdateReady", "Evaluated", "RoundFailed"), DeviceEvent),
    **dict.fromkeys(("Grant", "Accepted", "Rejected", "NotAdmitted"), Command),
}


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


KEYS = {k["name"]: SigningKey.from_seed(bytes.fromhex(k["seed"])) for k in read("keys")}


def each(name: str) -> pytest.MarkDecorator:
    content = read(name)
    cases = content["cases"] if isinstance(content, dict) else content
    return pytest.mark.parametrize("vector", cases, ids=[case["name"] for case in cases])


def layout_of(rows: list[Vector]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(row["name"], tuple(row["shape"])) for row in rows)


def tensors_of(arrays: dict[str, str], layout: tuple[TensorSpec, ...]) -> Parameters:
    return {
        spec.name: np.frombuffer(base64.b64decode(arrays[spec.name]), "<f4").reshape(spec.shape)
        for spec in layout
    }


def assert_same(found: Parameters, wanted: Parameters) -> None:
    assert {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in wanted.items()}


def test_the_script_makes_what_is_committed(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "make_protocol_vectors.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    names = sorted(path.name for path in FOLDER.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        if "updates" not in name:  # another zstd may write the same content in other bytes
            assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name
    for old, new in zip(
        read("updates"), json.loads((tmp_path / "updates.json").read_text()), strict=True
    ):
        for member in ("layout", "base", "base_digest", "trained", "key", "header", "tensors"):
            assert new[member] == old[member]


def test_every_kind_of_message_has_a_vector() -> None:
    assert {vector["kind"] for vector in read("messages")} == set(KINDS)
    assert {v["header"]["encoding"] for v in read("updates")} == {kind.value for kind in Encoding}


@each("messages")
def test_a_message_both_ways(vector: Vector) -> None:
    signed, topic, key = vector["signed"].encode(), vector["topic"], KEYS[vector["key"]]
    parts = split_signature(signed)
    assert parts.is_by(key.public, topic)
    message: msgspec.Struct = decode_message(parts.body, KINDS[vector["kind"]])
    assert type(message).__name__ == vector["kind"]
    assert json.loads(msgspec.json.encode(message)) == vector["message"]
    assert sign_message(message, topic, key) == signed


@each("refused-messages")
def test_a_message_that_is_refused(vector: Vector) -> None:
    reason = ""
    try:
        parts = split_signature(vector["payload"].encode())
        decode_message(parts.body, KINDS[vector["kind"]])
        if not parts.is_by(KEYS[vector["key"]].public, vector["topic"]):
            reason = "wrong-signature"
    except ProtocolError as error:
        reason = error.reason.value
    assert reason == vector["reason"]


@each("rotations")
def test_a_chain_of_rotations(vector: Vector) -> None:
    links = msgspec.convert(vector["successions"], tuple[Succession, ...])
    owner = read("rotations")["owner"]
    leads = follow_successions(vector["trusted"], vector["claimed"], links, owner)
    assert leads is vector["leads"]


def test_transfers_and_grants() -> None:
    for case in read("transfers")["payloads"]:
        length = case["transfer"]["payload_bytes"]
        payload = bytes((i * 167 + i // 256) % 256 for i in range(length))
        assert describe_transfer(payload) == msgspec.convert(case["transfer"], TransferReference)
        chunks = [{"bytes": len(c), "sha256": sha256_hex(c)} for c in split_chunks(payload)]
        assert chunks == case["chunks"]
    for case in read("transfers")["grants"]:
        spans = [(first, last) for first, last in case["chunks"]]
        assert list(numbers_in(spans, case["of"])) == case["upload"]


@each("models")
def test_a_model_both_ways(vector: Vector) -> None:
    layout, key = layout_of(vector["layout"]), KEYS[vector["key"]]
    codec, version = SharedCodec(layout), 1 if "sealed" in vector else 2
    if "sealed" in vector:
        tensors = tensors_of(vector["tensors"], layout)
    else:
        (spec,) = layout
        places = np.arange(spec.elements)
        numbers = ((places * 7919) % 2001 - 1000) / 1024
        tensors = {spec.name: numbers.astype(np.float32).reshape(spec.shape)}
    sealed = seal_tensors(codec.encode(tensors, ModelLabel(version)), key)
    assert describe_transfer(sealed) == msgspec.convert(vector["transfer"], TransferReference)
    if "sealed" in vector:
        assert base64.b64encode(sealed).decode() == vector["sealed"]
    else:
        chunks = [{"bytes": len(c), "sha256": sha256_hex(c)} for c in split_chunks(sealed)]
        assert chunks == [
            {"bytes": chunk["bytes"], "sha256": chunk["sha256"]} for chunk in vector["chunks"]
        ]
    header, decoded = codec.decode(open_tensors(sealed).require_signer(key.public))
    assert_same(decoded, tensors)
    assert tensors_digest(decoded) == vector["digest"] == header.sha256


@each("updates")
def test_an_update_both_ways(vector: Vector) -> None:
    layout, key = layout_of(vector["layout"]), KEYS[vector["key"]]
    codec, base = SharedCodec(layout), tensors_of(vector["base"], layout)
    sealed = base64.b64decode(vector["sealed"])
    assert describe_transfer(sealed) == msgspec.convert(vector["transfer"], TransferReference)
    header, decoded = codec.decode(open_tensors(sealed).require_signer(key.public), base)
    assert json.loads(msgspec.json.encode(header)) == vector["header"]
    assert_same(decoded, tensors_of(vector["tensors"], layout))

    trained = tensors_of(vector["trained"], layout)
    payload = codec.encode(trained, header.label, header.encoding, base)
    again, decoded_again = codec.decode(payload, base)
    assert again == header
    assert_same(decoded_again, decoded)
    if header.encoding is Encoding.FLOAT32:
        assert seal_tensors(payload, key) == sealed


def judge_update(vector: Vector) -> None:
    scene = read("refused-updates")
    layout, expected = layout_of(scene["layout"]), scene["expected"]
    base = flatten(tensors_of(scene["base"], layout), layout)
    wanted = Expected(expected["device"], expected["round"], expected["base"], base)
    payload = open_tensors(base64.b64decode(vector["sealed"])).require_signer(
        KEYS[vector["key"]].public
    )
    validate_update(payload, SharedCodec(layout), wanted, ValidationPolicy())


@each("refused-updates")
def test_an_update_that_is_refused(vector: Vector) -> None:
    with pytest.raises(ProtocolError) as caught:
        judge_update(vector)
    assert caught.value.reason.value == vector["reason"]
