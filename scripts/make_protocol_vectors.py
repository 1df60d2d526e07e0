"""Makes docs/protocol-vectors/: what a client in another language is checked with.

python scripts/make_protocol_vectors.py         writes them anew
python scripts/make_protocol_vectors.py FOLDER  writes them into another folder

Keys come from fixed seeds and numbers from fixed rules, so that every run makes the same files;
only zstd's bytes may differ with another version of that library. docs/protocol.md describes them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import (
    AcceptDevice,
    Accepted,
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceStatus,
    Encoding,
    Evaluated,
    Grant,
    Heartbeat,
    LocalReport,
    Membership,
    ModelLabel,
    ModelReference,
    NotAdmitted,
    OperatorAction,
    OperatorAnswer,
    OperatorRequest,
    Parameters,
    Pause,
    PermitJoin,
    PhaseProgress,
    Presence,
    ProtocolError,
    Purpose,
    QuarantineDevice,
    ReadmitDevice,
    Rejected,
    RejectReason,
    Resume,
    RevokeDevice,
    RoundAnnouncement,
    RoundBrief,
    RoundFailed,
    RoundHistory,
    RoundMetrics,
    SharedCodec,
    SigningKey,
    Succession,
    TensorSpec,
    Topics,
    TrainableSet,
    TransferReference,
    UpdateLabel,
    UpdateReady,
    describe_transfer,
    make_succession,
    numbers_in,
    seal_tensors,
    sha256_hex,
    sign_message,
    split_chunks,
    tensors_digest,
)
from pfedfrz_protocol.tensors import head_bytes

TARGET = Path(__file__).parents[1] / "docs" / "protocol-vectors"
FEDERATION, DEVICE = "lab", "kitchen"
TOPICS = Topics(FEDERATION)
BUNDLE = hashlib.sha256(b"manifest.json").hexdigest()
BOOT = "5f0c6e7a9b1d2c34"
SMALL = (TensorSpec("head.weight", (3, 4)), TensorSpec("head.bias", (3,)))
LONG = (TensorSpec("head.weight", (4100,)),)
LARGE = (TensorSpec("head.weight", (300, 257)),)
EPOCH = 217_000_000


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"pfedfrz test vector {name}".encode()).digest()


NAMES = ("coordinator", "coordinator-2", "kitchen", "kitchen-2", "kitchen-3", "stranger", "anna")
KEYS = {name: SigningKey.from_seed(_seed(name)) for name in NAMES}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _arrays(tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    return {name: _base64(array.tobytes()) for name, array in tensors.items()}


def _plain(message: msgspec.Struct) -> object:
    return json.loads(msgspec.json.encode(message))


def by_rule(layout: tuple[TensorSpec, ...], factor: int, scale: float) -> Parameters:
    """Number i of all tensors in the layout's order: ((i * factor) mod 2001 - 1000) * scale."""
    tensors, start = Parameters(), 0
    for spec in layout:
        places = np.arange(start, start + spec.elements, dtype=np.int64)
        values = ((places * factor) % 2001 - 1000) * scale
        tensors[spec.name] = values.astype(np.float32).reshape(spec.shape)
        start += spec.elements
    return tensors


def moved(base: Parameters) -> Parameters:
    """The base after a small step."""
    layout = tuple(TensorSpec(name, array.shape) for name, array in base.items())
    steps = by_rule(layout, 613, 2.0**-17)
    return {name: base[name] + steps[name] for name in base}


BASE = by_rule(SMALL, 7919, 2.0**-10)
LONG_BASE = by_rule(LONG, 7919, 2.0**-10)
LARGE_MODEL = by_rule(LARGE, 7919, 2.0**-10)


def update_label(base: Parameters) -> UpdateLabel:
    """An update of the kitchen's for round 3."""
    return UpdateLabel(DEVICE, BOOT, 3, 600, tensors_digest(base))


def large_sealed() -> bytes:
    """A model of two chunks, as it travels."""
    payload = SharedCodec(LARGE).encode(LARGE_MODEL, ModelLabel(2))
    return seal_tensors(payload, KEYS["coordinator"])


def successions() -> tuple[Succession, ...]:
    """Two rotations of the kitchen's key."""
    owner = f"{FEDERATION}/device/{DEVICE}"
    return (
        make_succession(KEYS["kitchen"], KEYS["kitchen-2"].public, owner),
        make_succession(KEYS["kitchen-2"], KEYS["kitchen-3"].public, owner),
    )


def coordinator_successions() -> tuple[Succession, ...]:
    """One rotation of the coordinator's key."""
    successor = KEYS["coordinator-2"].public
    return (make_succession(KEYS["coordinator"], successor, f"{FEDERATION}/coordinator"),)


def announcement() -> RoundAnnouncement:
    """Round 3, which trains with the model of two chunks."""
    model = ModelReference(2, tensors_digest(LARGE_MODEL), describe_transfer(large_sealed()))
    selected = ("hall", DEVICE)
    return RoundAnnouncement(3, EPOCH, BUNDLE, Purpose.TRAIN, model, selected, 300.0, 10)


def messages() -> list[tuple[str, str, str, msgspec.Struct]]:
    """(name, topic, name of the key, message): at least one of every kind."""
    ours, theirs = KEYS["coordinator"].public, KEYS["kitchen"].public
    status, event = TOPICS.device(DEVICE, "status"), TOPICS.device(DEVICE, "event")
    command, opened = TOPICS.device(DEVICE, "command"), announcement()
    report = LocalReport(600, 0.8125, 0.9375, 0.25, 308_000, 12.5, 0.5)
    transfer = TransferReference(5120, hashlib.sha256(b"an update").hexdigest())
    base = opened.model.digest
    online, offline = Presence.ONLINE, Presence.OFFLINE
    evaluate = msgspec.structs.replace(
        opened, round=21, purpose=Purpose.EVALUATE, epoch=EPOCH + 1, stale_rounds=0
    )
    metrics = RoundMetrics(
        3, Purpose.TRAIN, 2, 2, 1, {RejectReason.NOT_FINITE: 1}, 0, 0.8125, 0.9375, 0.25, 5120,
        308_000, 12.5, {DEVICE: 0.75}, ignored={RejectReason.NOT_SIGNED: 2},
    )  # fmt: skip
    return [
        ("coordinator status", TOPICS.coordinator_status, "coordinator",
         CoordinatorStatus(online, BUNDLE, EPOCH, ours)),
        ("coordinator status, the last will", TOPICS.coordinator_status, "coordinator",
         CoordinatorStatus(offline, BUNDLE, 0, ours)),
        ("coordinator status, after a rotation", TOPICS.coordinator_status, "coordinator-2",
         CoordinatorStatus(online, BUNDLE, EPOCH, KEYS["coordinator-2"].public,
                           coordinator_successions())),
        ("control, run", TOPICS.control, "coordinator", Control(DesiredState.RUN, EPOCH)),
        ("control, stop", TOPICS.control, "coordinator", Control(DesiredState.STOP, EPOCH)),
        ("round, training", TOPICS.round, "coordinator", opened),
        ("round, evaluation", TOPICS.round, "coordinator", evaluate),
        ("bundle", TOPICS.bundle, "coordinator", BundleOffer(EPOCH, BUNDLE, transfer)),
        ("device status", status, "kitchen",
         DeviceStatus(online, BOOT, BUNDLE, "onnxruntime", 600, theirs)),
        ("device status, the last will", status, "kitchen",
         DeviceStatus(offline, BOOT, BUNDLE, "onnxruntime", 0, theirs)),
        ("device status, it may not train now", status, "kitchen",
         DeviceStatus(Presence.WAITING, BOOT, BUNDLE, "onnxruntime", 600, theirs,
                      waiting_for="power: not on mains")),
        ("device status, after two rotations", status, "kitchen-3",
         DeviceStatus(online, BOOT, BUNDLE, "onnxruntime", 600, KEYS["kitchen-3"].public,
                      successions())),
        ("heartbeat", TOPICS.device(DEVICE, "heartbeat"), "kitchen",
         Heartbeat(BOOT, "working", 3, 45.5)),
        ("event, progress", event, "kitchen",
         PhaseProgress(3, 1, 2, TrainableSet.ALL, 0, 2, 0.5)),
        ("event, ready", event, "kitchen",
         UpdateReady(3, EPOCH, BOOT, base, transfer, report)),
        ("event, evaluated", event, "kitchen",
         Evaluated(21, EPOCH + 1, BOOT, LocalReport(600, 0.875))),
        ("event, failed", event, "kitchen",
         RoundFailed(3, EPOCH, BOOT, "no space left on device, 2 \u00b5s too late")),
        ("event, bundle installed", event, "kitchen",
         BundleInstalled(EPOCH, BUNDLE, BOOT, "4 personal weights carried over")),
        ("event, bundle refused", event, "kitchen",
         BundleRefused(EPOCH, BUNDLE, BOOT, "it has no graphs for runtime onnxruntime")),
        ("command, grant of everything", command, "coordinator", Grant(3, EPOCH)),
        ("command, grant of what is missing", command, "coordinator",
         Grant(3, EPOCH, ((0, 0), (2, 5)))),
        ("command, accepted", command, "coordinator", Accepted(3, EPOCH)),
        ("command, rejected", command, "coordinator",
         Rejected(3, EPOCH, RejectReason.NORM_EXCEEDED, "step of norm 12 over 5")),
        ("command, not admitted", command, "coordinator",
         NotAdmitted(RejectReason.QUARANTINED, "5 failures in a row")),
        ("metrics", TOPICS.metrics, "coordinator", metrics),
        *watching(metrics),
    ]  # fmt: skip


def watching(metrics: RoundMetrics) -> list[tuple[str, str, str, msgspec.Struct]]:
    """The same of what is said for those who watch, and what only they need of other messages."""
    status = TOPICS.device(DEVICE, "status")
    briefs = (
        RoundBrief(2, Purpose.TRAIN, 1.7954e9, 12.5, 2, 2, 0, 0, 0.75, 0.875, 0.5, 10_240, 616_000,
                   25.0),
        RoundBrief(3, Purpose.EVALUATE, 1.79540002e9, 2.5, 2, 0, 0, 1),
    )  # fmt: skip
    actions: tuple[OperatorAction, ...] = (
        Pause(),
        Resume(),
        AcceptDevice("hall"),
        AcceptDevice("hall", KEYS["kitchen-2"].public),
        QuarantineDevice(DEVICE, "norms of 40 \u00b5 too many"),
        ReadmitDevice(DEVICE),
        RevokeDevice(DEVICE),
        PermitJoin(600.0),
    )
    request, answer = (TOPICS.operator("anna", leaf) for leaf in ("request", "answer"))
    theirs = KEYS["kitchen"].public
    return [
        ("device status, with the labels that its owner shares", status, "kitchen",
         DeviceStatus(Presence.ONLINE, BOOT, BUNDLE, "onnxruntime", 600, theirs,
                      label_counts=(0, 350, 250))),
        ("metrics, with cosines", TOPICS.metrics, "coordinator",
         msgspec.structs.replace(metrics, update_cosines={DEVICE: -0.25}, train_s=25.0,
                                 evaluate_s=1.5)),
        ("history", TOPICS.history, "coordinator", RoundHistory(briefs)),
        ("members", TOPICS.members, "coordinator",
         Membership(2, ("cellar",), {"hall": "5 failures in a row"}, ("attic",), True)),
        *((f"operator's request, {msgspec.to_builtins(action)['type']}"
           + (" with a key" if getattr(action, "key", None) else ""), request, "anna",
           OperatorRequest(EPOCH, serial, action)) for serial, action in enumerate(actions, 1)),
        ("operator's answer", answer, "coordinator",
         OperatorAnswer(EPOCH, 1, True, "paused")),
        ("operator's answer, not done", answer, "coordinator",
         OperatorAnswer(EPOCH - 1, 7, False, "asked before the coordinator's restart; ask again")),
    ]  # fmt: skip


def message_vectors() -> list[dict[str, object]]:
    """Signed messages and what they say."""
    return [
        {
            "name": name,
            "kind": type(message).__name__,
            "topic": topic,
            "key": key,
            "message": _plain(message),
            "signed": sign_message(message, topic, KEYS[key]).decode(),
        }
        for name, topic, key, message in messages()
    ]


def _signed_text(body: str, topic: str, key: str) -> str:
    """What nobody of ours would sign, signed."""
    signature = KEYS[key].sign(f"message/{topic}", body.encode())
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return f'{body[:-1]},"signature":"{text}"}}'


def refused_messages() -> list[dict[str, object]]:
    """Payloads on a device's command topic, and why the device ignores them."""
    topic, other = TOPICS.device(DEVICE, "command"), TOPICS.device("hall", "command")
    key = KEYS["coordinator"]
    good = sign_message(Grant(3, EPOCH), topic, key).decode()
    body = json.dumps(_plain(Grant(3, EPOCH)), separators=(",", ":"))
    cases = [
        ("no signature", body, RejectReason.NOT_SIGNED),
        ("an empty object", "{}", RejectReason.NOT_SIGNED),
        ("cut short by one character", good[:-1], RejectReason.NOT_SIGNED),
        ("a space behind it", good + " ", RejectReason.NOT_SIGNED),
        ("a signature with padding", good[:-2] + '=="}', RejectReason.NOT_SIGNED),
        ("a signature that is no base64url", good[:-88] + "!" * 86 + '"}',
         RejectReason.NOT_SIGNED),
        ("signed by a stranger", sign_message(Grant(3, EPOCH), topic, KEYS["stranger"]).decode(),
         RejectReason.WRONG_SIGNATURE),
        ("signed for another device's topic", sign_message(Grant(3, EPOCH), other, key).decode(),
         RejectReason.WRONG_SIGNATURE),
        ("another round than was signed", good.replace('"round":3', '"round":4'),
         RejectReason.WRONG_SIGNATURE),
        ("a space that was not signed", good.replace('"round":3', '"round": 3'),
         RejectReason.WRONG_SIGNATURE),
        ("a member that no grant has",
         _signed_text(body[:-1] + ',"force":true}', topic, "coordinator"), RejectReason.MALFORMED),
        ("a member is missing",
         _signed_text('{"type":"grant","round":3}', topic, "coordinator"), RejectReason.MALFORMED),
        ("a kind that there is not",
         _signed_text('{"type":"gift","round":3,"epoch":7}', topic, "coordinator"),
         RejectReason.MALFORMED),
        ("a round below 0",
         _signed_text('{"type":"grant","round":-1,"epoch":7}', topic, "coordinator"),
         RejectReason.MALFORMED),
        ("a round as text",
         _signed_text('{"type":"grant","round":"3","epoch":7}', topic, "coordinator"),
         RejectReason.MALFORMED),
        ("a round of ten digits",
         _signed_text('{"type":"grant","round":1000000000,"epoch":7}', topic, "coordinator"),
         RejectReason.MALFORMED),
        ("no JSON", _signed_text('{"type":"grant","round":3,"epoch":}', topic, "coordinator"),
         RejectReason.MALFORMED),
    ]  # fmt: skip
    return [
        {"name": name, "topic": topic, "kind": "Grant", "key": "coordinator",
         "payload": payload, "reason": reason.value}
        for name, payload, reason in cases
    ]  # fmt: skip


def rotation_vectors() -> dict[str, object]:
    """Chains, and whether they lead from a key that is trusted to one that is claimed."""
    owner = f"{FEDERATION}/device/{DEVICE}"
    one, two = successions()
    first, second, third = (KEYS[name].public for name in ("kitchen", "kitchen-2", "kitchen-3"))
    stranger = KEYS["stranger"]
    forged = Succession(first, stranger.public, stranger.sign(
        f"succession/{owner}", stranger.public.encode()).hex())  # fmt: skip
    elsewhere = make_succession(KEYS["kitchen"], second, f"{FEDERATION}/device/hall")
    many = [SigningKey.from_seed(_seed(f"link {number}")) for number in range(10)]
    chain = tuple(make_succession(old, new.public, owner) for old, new in itertools.pairwise(many))
    cases = [
        ("two rotations", first, third, (one, two), True),
        ("whoever knew the second key", second, third, (one, two), True),
        ("no rotation is needed", third, third, (), True),
        ("the second alone", first, third, (two,), False),
        ("in the wrong order", first, third, (two, one), False),
        ("back to the key before", third, first, (one, two), False),
        ("signed by the successor", first, stranger.public, (forged,), False),
        ("of another device", first, second, (elsewhere,), False),
        ("eight rotations", many[0].public, many[8].public, chain[:8], True),
        ("nine rotations", many[0].public, many[9].public, chain, False),
    ]
    return {
        "owner": owner,
        "cases": [
            {"name": name, "trusted": trusted, "claimed": claimed,
             "successions": [_plain(link) for link in links], "leads": leads}
            for name, trusted, claimed, links, leads in cases
        ],
    }  # fmt: skip


def transfer_vectors() -> dict[str, object]:
    """Payloads whose byte i is (i * 167 + i div 256) mod 256, in chunks; and grants."""
    payloads = []
    for length in (0, 1, 262_143, 262_144, 262_145, 600_000):
        places = np.arange(length, dtype=np.int64)
        payload = ((places * 167 + places // 256) % 256).astype(np.uint8).tobytes()
        chunks = [{"bytes": len(c), "sha256": sha256_hex(c)} for c in split_chunks(payload)]
        payloads.append({"transfer": _plain(describe_transfer(payload)), "chunks": chunks})
    grants: list[tuple[tuple[tuple[int, int], ...], int]] = [
        ((), 3), (((1, 1),), 3), (((0, 0), (2, 5)), 4), (((1, 2), (2, 3)), 9), (((7, 9),), 3),
    ]  # fmt: skip
    return {
        "payloads": payloads,
        "grants": [
            {"chunks": spans, "of": count, "upload": numbers_in(spans, count)}
            for spans, count in grants
        ],
    }


def _layout(layout: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
    return [{"name": spec.name, "shape": spec.shape} for spec in layout]


def update_vectors() -> list[dict[str, object]]:
    """An update in each encoding, and one in 8 bits that has two blocks."""
    vectors = []
    cases: list[tuple[str, tuple[TensorSpec, ...], Parameters, Encoding]]
    cases = [(f"an update, {kind.value}", SMALL, BASE, kind) for kind in Encoding]
    cases.append(("an update of two blocks, delta-int8", LONG, LONG_BASE, Encoding.DELTA_INT8))
    for name, layout, base, encoding in cases:
        codec, label = SharedCodec(layout), update_label(base)
        payload = codec.encode(moved(base), label, encoding, base)
        sealed = seal_tensors(payload, KEYS["kitchen"])
        header, decoded = codec.decode(payload, base)
        vectors.append(
            {
                "name": name,
                "layout": _layout(layout),
                "base": _arrays(base),
                "base_digest": tensors_digest(base),
                "trained": _arrays(moved(base)),
                "key": "kitchen",
                "header": _plain(header),
                "transfer": _plain(describe_transfer(sealed)),
                "sealed": _base64(sealed),
                "tensors": _arrays(decoded),
            }
        )
    return vectors


def model_vectors() -> list[dict[str, object]]:
    """A small model as it is, and one of two chunks by its rule."""
    small = SharedCodec(SMALL).encode(BASE, ModelLabel(1))
    sealed, large = seal_tensors(small, KEYS["coordinator"]), large_sealed()
    head = head_bytes(large)
    return [
        {
            "name": "one chunk",
            "layout": _layout(SMALL),
            "key": "coordinator",
            "digest": tensors_digest(BASE),
            "transfer": _plain(describe_transfer(sealed)),
            "sealed": _base64(sealed),
            "tensors": _arrays(BASE),
        },
        {
            "name": "two chunks; number i is ((i * 7919) mod 2001 - 1000) / 1024",
            "layout": _layout(LARGE),
            "key": "coordinator",
            "digest": tensors_digest(LARGE_MODEL),
            "transfer": _plain(describe_transfer(large)),
            "head": _base64(head),
            "signature": large[-64:].hex(),
            "chunks": [
                {"topic": TOPICS.model_chunk(2, n), "bytes": len(c), "sha256": sha256_hex(c)}
                for n, c in enumerate(split_chunks(large))
            ],
        },
    ]


def _reheaded(payload: bytes, **changes: object) -> bytes:
    """The payload with another header."""
    head = head_bytes(payload)
    header = {**json.loads(head[9:]), **changes}
    text = json.dumps(header, separators=(",", ":")).encode()
    return head[:5] + len(text).to_bytes(4, "little") + text + payload[len(head) :]


def refused_updates() -> list[dict[str, object]]:
    """Sealed updates for round 3 of the kitchen, and why the coordinator refuses them."""
    codec, label, key = SharedCodec(SMALL), update_label(BASE), KEYS["kitchen"]
    trained = moved(BASE)
    float32 = codec.encode(trained, label)
    float16 = codec.encode(trained, label, Encoding.DELTA_FLOAT16, BASE)
    int8 = codec.encode(trained, label, Encoding.DELTA_INT8, BASE)
    change = msgspec.structs.replace
    nan = {name: np.full_like(array, np.nan) for name, array in trained.items()}
    personal = (*SMALL[:1], TensorSpec("front.bias", (3,)))
    strange = {"head.weight": trained["head.weight"], "front.bias": trained["head.bias"]}
    turned = (TensorSpec("head.weight", (4, 3)), SMALL[1])
    transposed = {**trained, "head.weight": trained["head.weight"].T}
    signed = [
        ("another magic", b"PFZX" + float32[4:], RejectReason.MALFORMED),
        ("another version", float32[:4] + b"\2" + float32[5:], RejectReason.MALFORMED),
        ("a header longer than the payload", float32[:5] + b"\xff\xff\0\0" + float32[9:],
         RejectReason.MALFORMED),
        ("a header with a member too many", _reheaded(float32, comment="hi"),
         RejectReason.MALFORMED),
        ("a model where an update is due", codec.encode(trained, ModelLabel(3)),
         RejectReason.MALFORMED),
        ("another device's", codec.encode(trained, change(label, device="hall")),
         RejectReason.MALFORMED),
        ("of another round", codec.encode(trained, change(label, round=2)), RejectReason.LATE),
        ("of another base", codec.encode(trained, change(label, base="0" * 64)),
         RejectReason.WRONG_BASE),
        ("of no samples", codec.encode(trained, change(label, samples=0)),
         RejectReason.SAMPLES_EXCEEDED),
        ("a body that was cut short", float32[:-1], RejectReason.WRONG_DIGEST),
        ("a body with a byte behind it", float32 + b"\0", RejectReason.WRONG_DIGEST),
        ("another body than the header says", float32[:-1] + bytes([float32[-1] ^ 1]),
         RejectReason.WRONG_DIGEST),
        ("a body of endless length", _reheaded(float32, decoded_bytes=1 << 40),
         RejectReason.TOO_LARGE),
        ("no zstd", _reheaded(float32, encoding="delta-int8"), RejectReason.MALFORMED),
        ("a frame of another length than the header says", _reheaded(int8, decoded_bytes=98),
         RejectReason.MALFORMED),
        ("16-bit words with half a word", _reheaded(float16, decoded_bytes=97),
         RejectReason.MALFORMED),
        ("bytes behind the zstd frame", int8 + b"\0", RejectReason.MALFORMED),
        ("16 bits said to be 8", _reheaded(float16, encoding="delta-int8"),
         RejectReason.WRONG_DIGEST),
        ("a personal tensor", SharedCodec(personal).encode(strange, label),
         RejectReason.WRONG_TENSORS),
        ("another shape", SharedCodec(turned).encode(transposed, label),
         RejectReason.WRONG_TENSORS),
        ("weights that are no numbers", codec.encode(nan, label), RejectReason.NOT_FINITE),
    ]  # fmt: skip
    cases = [(name, _seal(payload, key), reason) for name, payload, reason in signed]
    good = seal_tensors(float32, key)
    cases += [
        ("shorter than a signature", good[:64], RejectReason.NOT_SIGNED),
        ("not signed", float32, RejectReason.WRONG_SIGNATURE),
        ("signed by a stranger", seal_tensors(float32, KEYS["stranger"]),
         RejectReason.WRONG_SIGNATURE),
        ("one bit of the signature", good[:-1] + bytes([good[-1] ^ 1]),
         RejectReason.WRONG_SIGNATURE),
        ("one bit of the header", good.replace(b'"round":3', b'"round":2'),
         RejectReason.WRONG_SIGNATURE),
    ]  # fmt: skip
    return [
        {"name": name, "key": "kitchen", "sealed": _base64(sealed), "reason": reason.value}
        for name, sealed, reason in cases
    ]


def _seal(payload: bytes, key: SigningKey) -> bytes:
    try:
        return seal_tensors(payload, key)
    except ProtocolError:  # framing so wrong that there is no head to sign
        return payload + key.sign("tensors", payload)


def vectors() -> dict[str, object]:
    """Everything, by the name of its file."""
    return {
        "keys": [{"name": n, "seed": _seed(n).hex(), "public": k.public} for n, k in KEYS.items()],
        "messages": message_vectors(),
        "refused-messages": refused_messages(),
        "rotations": rotation_vectors(),
        "transfers": transfer_vectors(),
        "models": model_vectors(),
        "updates": update_vectors(),
        "refused-updates": {
            "layout": _layout(SMALL),
            "base": _arrays(BASE),
            "expected": {"device": DEVICE, "round": 3, "base": tensors_digest(BASE)},
            "cases": refused_updates(),
        },
    }


def main(folder: Path) -> None:
    """Write the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in vectors().items():
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
