"""A second implementation, made from docs/protocol.md alone, reads and makes every test vector."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import second_implementation as second
from second_implementation import RefusedError

FOLDER = Path(__file__).parents[2] / "docs" / "protocol-vectors"
VECTORS = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in (
    "keys", "messages", "refused-messages", "rotations", "transfers", "models", "updates",
    "refused-updates",
)}  # fmt: skip
SEEDS = {entry["name"]: bytes.fromhex(entry["seed"]) for entry in VECTORS["keys"]}
PUBLIC = {entry["name"]: entry["public"] for entry in VECTORS["keys"]}
Vector = dict[str, Any]


def each(name: str) -> pytest.MarkDecorator:
    cases = VECTORS[name]["cases"] if isinstance(VECTORS[name], dict) else VECTORS[name]
    return pytest.mark.parametrize("vector", cases, ids=[case["name"] for case in cases])


def layout_of(rows: list[Vector]) -> list[tuple[str, tuple[int, ...]]]:
    return [(row["name"], tuple(row["shape"])) for row in rows]


def numbers_of(arrays: dict[str, str]) -> dict[str, list[float]]:
    found = {}
    for name, text in arrays.items():
        data = base64.b64decode(text)
        found[name] = list(struct.unpack(f"<{len(data) // 4}f", data))
    return found


def test_it_knows_nothing_of_the_first() -> None:
    tree = ast.parse(Path(second.__file__).read_text())
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module
    }
    assert {module.split(".")[0] for module in modules} <= {
        "__future__",
        "base64",
        "binascii",
        "collections",
        "cryptography",
        "dataclasses",
        "hashlib",
        "json",
        "struct",
        "typing",
        "zstandard",
    }


def test_public_keys_come_from_seeds() -> None:
    assert {name: second.public_key(seed) for name, seed in SEEDS.items()} == PUBLIC


@each("messages")
def test_a_message_both_ways(vector: Vector) -> None:
    signed, topic = vector["signed"].encode(), vector["topic"]
    message = second.read_message(signed, topic, PUBLIC[vector["key"]])
    assert message == vector["message"]
    assert second.write_message(message, topic, SEEDS[vector["key"]]) == signed


@each("refused-messages")
def test_a_message_that_is_refused(vector: Vector) -> None:
    with pytest.raises(RefusedError, match=f"^{vector['reason']}$"):
        second.read_grant(vector["payload"].encode(), vector["topic"], PUBLIC[vector["key"]])


@each("rotations")
def test_a_chain_of_rotations(vector: Vector) -> None:
    owner = VECTORS["rotations"]["owner"]
    found = second.leads(vector["trusted"], vector["claimed"], vector["successions"], owner)
    assert found is vector["leads"]


def test_transfers_and_grants() -> None:
    for case in VECTORS["transfers"]["payloads"]:
        length = case["transfer"]["payload_bytes"]
        payload = bytes((i * 167 + i // 256) % 256 for i in range(length))
        assert second.transfer_of(payload) == case["transfer"]
        assert [
            {"bytes": len(chunk), "sha256": hashlib.sha256(chunk).hexdigest()}
            for chunk in second.chunks_of(payload)
        ] == case["chunks"]
    for case in VECTORS["transfers"]["grants"]:
        assert second.granted(case["chunks"], case["of"]) == case["upload"]


@each("models")
def test_a_model_both_ways(vector: Vector) -> None:
    layout, version = layout_of(vector["layout"]), 1 if "sealed" in vector else 2
    if "sealed" in vector:
        tensors = numbers_of(vector["tensors"])
    else:
        ((name, shape),) = layout
        count = shape[0] * shape[1]
        tensors = {name: [((i * 7919) % 2001 - 1000) / 1024 for i in range(count)]}
    header, body = second.write_body("float32", layout, tensors, tensors)
    head = second.write_head({**header, "label": {"type": "model", "version": version}})
    sealed = second.seal(head, body, SEEDS[vector["key"]])
    assert second.transfer_of(sealed) == vector["transfer"]
    if "sealed" in vector:
        assert base64.b64encode(sealed).decode() == vector["sealed"]
    else:
        assert base64.b64encode(head).decode() == vector["head"]
        assert sealed[-64:].hex() == vector["signature"]
        digests = [hashlib.sha256(chunk).hexdigest() for chunk in second.chunks_of(sealed)]
        assert digests == [chunk["sha256"] for chunk in vector["chunks"]]
    opened, body = second.open_sealed(sealed, PUBLIC[vector["key"]])
    assert second.read_tensors(opened.header, body, layout) == tensors
    assert second.model_digest(layout, tensors) == vector["digest"]
    assert opened.header["sha256"] == vector["digest"]


@each("updates")
def test_an_update_both_ways(vector: Vector) -> None:
    layout, base = layout_of(vector["layout"]), numbers_of(vector["base"])
    assert second.model_digest(layout, base) == vector["base_digest"]
    sealed = base64.b64decode(vector["sealed"])
    assert second.transfer_of(sealed) == vector["transfer"]
    head, body = second.open_sealed(sealed, PUBLIC[vector["key"]])
    assert head.header == vector["header"]
    second.check_label(head.header, "kitchen", 3, vector["base_digest"])
    decoded = second.read_tensors(head.header, body, layout, base)
    assert decoded == numbers_of(vector["tensors"])

    # The other way: the same head, so the same content; zstd may write it differently.
    trained, encoding = numbers_of(vector["trained"]), vector["header"]["encoding"]
    header, own_body = second.write_body(encoding, layout, trained, base)
    assert {**header, "label": vector["header"]["label"]} == vector["header"]
    own = second.seal(second.write_head(vector["header"]), own_body, SEEDS[vector["key"]])
    assert own[-64:] == sealed[-64:]
    if encoding == "float32":
        assert own == sealed
    else:
        again, own_body = second.open_sealed(own, PUBLIC[vector["key"]])
        assert second.read_tensors(again.header, own_body, layout, base) == decoded


def judge_update(vector: Vector) -> None:
    scene = VECTORS["refused-updates"]
    expected = scene["expected"]
    head, body = second.open_sealed(base64.b64decode(vector["sealed"]), PUBLIC[vector["key"]])
    second.check_label(head.header, expected["device"], expected["round"], expected["base"])
    second.read_tensors(head.header, body, layout_of(scene["layout"]), numbers_of(scene["base"]))


@each("refused-updates")
def test_an_update_that_is_refused(vector: Vector) -> None:
    with pytest.raises(RefusedError, match=f"^{vector['reason']}$"):
        judge_update(vector)
