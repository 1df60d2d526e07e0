"""The manifest of a bundle."""

from __future__ import annotations

import tiny_bundle
from json_mutation import change_json
from message_examples import nasty_json

from pfedfrz_protocol import BundleError, decode_manifest, encode_manifest

MANIFEST = encode_manifest(tiny_bundle.make_bundle().manifest)


def target(data: bytes) -> None:
    """What decodes encodes and is the same again."""
    try:
        manifest = decode_manifest(data)
    except BundleError:
        return
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert manifest.digest and manifest.files() and manifest.partition


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    return change_json(data, limit, seed)


def seeds() -> dict[str, bytes]:
    found = dict(nasty_json())
    found["good"] = MANIFEST
    ditto = tiny_bundle.make_bundle(method="pfedfrz").manifest
    found["smoothed"] = encode_manifest(ditto).replace(
        b'"label_smoothing": 0.0', b'"label_smoothing": 2.0'
    )
    found["doubled-version"] = MANIFEST.replace(
        b'"format_version": 1', b'"format_version": 1, "format_version": 1'
    )
    found["huge-shape"] = MANIFEST.replace(b"[4, 6]", b"[" + b"9" * 19 + b"]")
    found["huge-rank"] = MANIFEST.replace(b"4,\n", b"4611686018427387904,\n" * 500, 1)
    found["negative-shape"] = MANIFEST.replace(b"6\n", b"-6\n", 1)
    found["no-phase"] = MANIFEST.replace(b'"epochs": 1', b'"epochs": -1', 1)
    found["negative-bytes"] = MANIFEST.replace(b'"bytes": ', b'"bytes": -', 1)
    found["path-trick"] = MANIFEST.replace(b"onnx/predict.onnx", b"../../predict.onnx")
    found["nan-rate"] = MANIFEST.replace(b'"learning_rate": 0.03', b'"learning_rate": NaN')
    found["foreign-name"] = MANIFEST.replace(b"front.weight", "\u202efront١".encode())
    return found
