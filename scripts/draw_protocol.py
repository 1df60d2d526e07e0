"""Draws the tables of docs/protocol.md from the code, so that they cannot say anything else.

python scripts/draw_protocol.py          writes the tables anew, between their marks
python scripts/draw_protocol.py --print  prints what the page would be

What a member of a message means is its docstring in the code, or stands in MEANINGS below.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect as types

from pfedfrz_edge import model_download, publisher
from pfedfrz_edge.configuration import DeviceSettings
from pfedfrz_protocol import (
    CHUNK_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_SUCCESSIONS,
    SIGNATURE_BYTES,
    AcceptDevice,
    Accepted,
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    Control,
    CoordinatorStatus,
    DeviceStatus,
    Evaluated,
    Grant,
    Heartbeat,
    LocalReport,
    Membership,
    ModelLabel,
    ModelReference,
    NotAdmitted,
    OperatorAnswer,
    OperatorRequest,
    Pause,
    PermitJoin,
    PhaseProgress,
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
    Succession,
    TensorHeader,
    Topics,
    TransferReference,
    UpdateLabel,
    UpdateReady,
)
from pfedfrz_protocol.int8_blocks import INT8_BLOCK
from pfedfrz_protocol.messages import MAX_MESSAGE_BYTES, MAX_SPANS, MAX_TEXT
from pfedfrz_protocol.tensors import MAX_HEADER_BYTES
from pfedfrz_transport import LinkLimits, MqttOptions

TARGET = Path(__file__).parents[1] / "docs" / "protocol.md"
_BLOCK = re.compile(r"<!-- drawn: (.+?) -->\n.*?<!-- end -->\n", re.DOTALL)
_DIGEST, _SIGNATURE = r"\A[0-9a-f]{64}\Z", r"\A[0-9a-f]{128}\Z"
_NAME = r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"

STRUCTS: tuple[type[msgspec.Struct], ...] = (
    CoordinatorStatus,
    Succession,
    Control,
    RoundAnnouncement,
    ModelReference,
    TransferReference,
    BundleOffer,
    DeviceStatus,
    Heartbeat,
    PhaseProgress,
    UpdateReady,
    Evaluated,
    RoundFailed,
    BundleInstalled,
    BundleRefused,
    LocalReport,
    Grant,
    Accepted,
    Rejected,
    NotAdmitted,
    RoundMetrics,
    RoundHistory,
    RoundBrief,
    Membership,
    OperatorRequest,
    Pause,
    Resume,
    AcceptDevice,
    QuarantineDevice,
    ReadmitDevice,
    RevokeDevice,
    PermitJoin,
    OperatorAnswer,
    TensorHeader,
    ModelLabel,
    UpdateLabel,
)

MEANINGS = {
    "presence": "`offline` is what a last will and a goodbye say",
    "bundle": "sha256 of the bundle's `manifest.json`",
    "epoch": "that of the newest announcement; see [the order of rounds](#the-order-of-rounds)",
    "key": "the sender's public key, which has signed this message",
    "successions": "the [rotations](#rotations) that led to that key, oldest first",
    "desired": "what the federation should be doing; `pause` asks nothing of a device",
    "payload_bytes": "the length of all chunks together",
    "sha256": "of all chunks together, in order",
    "digest": "the [identity](#the-digest-of-a-model) of the tensors",
    "transfer": "what the chunks will be together",
    "round": "the round's number, from 1",
    "purpose": "training and an update, or an evaluation of the model alone",
    "model": "where the round begins",
    "selected": "the devices that are asked",
    "deadline_s": "for how many seconds the coordinator will wait, from when it opened the round",
    "boot_id": "made anew at every start of the process, by chance",
    "runtime": "what computes gradients, for people",
    "samples": "how many training samples there are",
    "state": "what the device is doing, for people",
    "uptime_s": "seconds since its start",
    "received": "accuracy with the received weights before any training",
    "local": "accuracy after it",
    "downloaded_bytes": "of chunks, for this round",
    "train_s": "seconds of training",
    "evaluate_s": "seconds of evaluation",
    "received_loss": "mean test loss at the moment of `received`, where labels are numbers",
    "phase": "which one has ended an epoch, from 0",
    "phases": "how many there are",
    "trainable": "what it trains",
    "epochs": "how many the phase has",
    "loss": "mean training loss of that epoch; null when it is no number",
    "base": "the digest of the model that was trained from",
    "report": "what was measured",
    "detail": "one line for people",
    "reason": "see [reasons](#reasons)",
    "previous": "the key that was trusted",
    "successor": "the key that speaks in its place",
    "model_version": "the version that the round began with",
    "accepted": "updates that made the next model",
    "rejected": "refused updates by reason",
    "missing": "selected devices that gave no answer",
    "received_mean": "mean of `received`",
    "local_mean": "mean of `local`",
    "loss_mean": "mean of `loss`",
    "uplink_bytes": "of accepted and refused updates",
    "downlink_bytes": "of models, as devices reported",
    "duration_s": "seconds from opening to closing",
    "received_loss_mean": "mean of `received_loss`",
    "local_loss_mean": "mean of `local_loss`",
    "encoding": "how the body is written",
    "decoded_bytes": "the length of the safetensors bytes, unpacked",
    "label": "what the body is",
    "device": "whose update it is",
}
OWN = {
    (
        "DeviceStatus",
        "presence",
    ): "`offline` is what a last will and a goodbye say; `waiting` that it is there and may not "
    "train now: it is asked again when it says `online`",
    ("CoordinatorStatus", "presence"): "never `waiting`; `offline` is what a last will says",
    ("CoordinatorStatus", "epoch"): "the epoch that it runs in; 0 in a last will",
    (
        "ModelReference",
        "version",
    ): "the last closed round that made it; 0 is the bundle's own model",
    ("TensorHeader", "sha256"): "of the safetensors bytes, unpacked",
    ("ModelLabel", "version"): "its version",
    ("UpdateLabel", "samples"): "how many it was trained on: its weight in the mean",
    ("UpdateLabel", "round"): "the round that it was trained for",
    ("Heartbeat", "round"): "the last announced round; 0 before the first",
    ("PhaseProgress", "epoch"): "which epoch of the phase, from 0",
    ("RoundMetrics", "selected"): "how many devices were asked",
    ("RoundBrief", "selected"): "how many devices were asked",
    ("RoundBrief", "rejected"): "how many updates were refused",
    ("RoundHistory", "rounds"): "oldest first; of a longer run the newest",
    ("Membership", "revoked"): "their keys are good for nothing any more",
    ("OperatorRequest", "epoch"): "that of the coordinator's present status",
    ("OperatorRequest", "serial"): "above all that this operator has used in this epoch",
    ("OperatorRequest", "action"): "what is asked",
    ("OperatorAnswer", "done"): "whether it was done",
    ("AcceptDevice", "device"): "which one",
    ("AcceptDevice", "key"): "the public key that it has; null is the one that it asked with",
    ("QuarantineDevice", "device"): "which one",
    ("QuarantineDevice", "reason"): "one line for people",
    ("ReadmitDevice", "device"): "which one",
    ("RevokeDevice", "device"): "which one",
    ("PermitJoin", "seconds"): "from now; 0 ends it",
    ("Grant", "epoch"): "as the device said in its `ready`",
    ("Accepted", "epoch"): "as the device said in its `ready`",
    ("Rejected", "epoch"): "as the device said in its `ready`",
    ("Control", "epoch"): "the coordinator's when it said this",
    ("RoundAnnouncement", "epoch"): "grows; see [the order of rounds](#the-order-of-rounds)",
}


def docstrings(kind: type) -> dict[str, str]:
    """The strings below the members of a class, each as one line."""
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            target = getattr(statement, "target", None) or getattr(statement, "targets", [None])[0]
            if isinstance(target, ast.Name):
                found[target.id] = " ".join(below.value.value.split()).rstrip(".")
    return found


def thousands(number: float) -> str:
    """Digits in threes: 999 999 999."""
    return f"{int(number):,}".replace(",", " ")


def type_text(kind: types.Type) -> str:
    """The JSON that fits a type, bounds included."""
    match kind:
        case types.IntType(ge=low, le=high):
            return f"integer, {low} to {thousands(high or 0)}"
        case types.FloatType(ge=low, le=high):
            return "number" if low is None else f"number, {low} to {thousands(high or 0)}"
        case types.StrType(pattern=str() as pattern):
            return {_DIGEST: "64 hex digits", _SIGNATURE: "128 hex digits", _NAME: "name"}[pattern]
        case types.StrType(max_length=most):
            return f"text, at most {most} characters"
        case types.EnumType(cls=cls) if cls is RejectReason:
            return "a reason"
        case types.EnumType(cls=cls):
            return ", ".join(f'`"{member.value}"`' for member in cls)
        case types.BoolType():
            return "true or false"
        case types.NoneType():
            return "null"
        case types.UnionType(types=parts):
            return " or ".join(type_text(part) for part in parts)
        case types.VarTupleType(item_type=item, max_length=most):
            bound = "" if most is None else f", at most {most}"
            return f"array of ({type_text(item)}){bound}"
        case types.TupleType(item_types=items):
            return "[" + ", ".join(type_text(item) for item in items) + "]"
        case types.DictType(key_type=key, value_type=value):
            return f"object of ({type_text(key)}): ({type_text(value)})"
        case types.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
    raise TypeError(f"no words for {kind!r}")


def default_text(field: types.Field) -> str:
    """What an absent member means."""
    if field.required:
        return "must be there"
    default: Any = field.default
    if default is msgspec.NODEFAULT:
        default = field.default_factory() if callable(field.default_factory) else None
    return f"`{msgspec.json.encode(default).decode()}`"


def members(kind: type[msgspec.Struct]) -> str:
    """The table of one kind of object, with the name of its section."""
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    documented, name = docstrings(kind), kind.__name__
    lines = [f"#### {name}", "", " ".join((kind.__doc__ or "").split("\n\n")[0].split()), ""]
    lines += ["| member | what fits | if absent | meaning |", "|---|---|---|---|"]
    if info.tag is not None:
        lines.append(f'| `type` | `"{info.tag}"` | must be there | which kind it is |')
    for field in info.fields:
        meaning = OWN.get((name, field.name)) or documented.get(field.name)
        meaning = meaning or MEANINGS[field.name]
        fits = type_text(field.type).replace("|", "\\|")
        lines.append(f"| `{field.name}` | {fits} | {default_text(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def topics() -> str:
    """Every topic, by the code that makes them."""
    t, device = Topics("FEDERATION"), "DEVICE"
    model = t.model_chunk(1, 2).replace("/1/2", "/VERSION/CHUNK")
    update = t.update_chunk(device, 1, 2).replace("/1/2", "/ROUND/CHUNK")
    commands = (Grant, Accepted, Rejected, NotAdmitted)
    events = (UpdateReady, Evaluated, RoundFailed, BundleInstalled, BundleRefused)
    bundle = t.bundle_chunk("DIGEST", 1).replace("/1", "/CHUNK")
    rows: list[tuple[str, str, str, str, tuple[type[msgspec.Struct], ...]]] = [
        (t.coordinator_status, "coordinator; its last will", "1", "yes", (CoordinatorStatus,)),
        (t.round, "coordinator", "1", "yes", (RoundAnnouncement,)),
        (t.control, "coordinator", "1", "yes", (Control,)),
        (t.metrics, "coordinator", "1", "yes", (RoundMetrics,)),
        (t.bundle, "coordinator", "1", "yes", (BundleOffer,)),
        (t.history, "coordinator", "1", "yes", (RoundHistory,)),
        (t.members, "coordinator", "1", "yes", (Membership,)),
        (t.operator("OPERATOR", "request"), "that operator", "1", "no", (OperatorRequest,)),
        (t.operator("OPERATOR", "answer"), "coordinator", "1", "no", (OperatorAnswer,)),
        (t.device(device, "command"), "coordinator", "1", "no", commands),
        (t.device(device, "status"), "that device; its last will", "1", "yes", (DeviceStatus,)),
        (t.device(device, "event"), "that device", "1", "no", events),
        (t.device(device, "event"), "that device", "0", "no", (PhaseProgress,)),
        (t.device(device, "heartbeat"), "that device", "0", "no", (Heartbeat,)),
    ]
    lines = ["| topic | who writes | QoS | retained | what |", "|---|---|---|---|---|"]
    for topic, who, qos, retained, kinds in rows:
        linked = ", ".join(f"[{kind.__name__}](#{kind.__name__.lower()})" for kind in kinds)
        lines.append(f"| `{topic}` | {who} | {qos} | {retained} | {linked} |")
    chunk = "[a chunk](#chunks)"
    lines.append(f"| `{model}` | coordinator | 1 | yes | {chunk} of a sealed model |")
    lines.append(f"| `{bundle}` | coordinator | 1 | yes | {chunk} of a bundle |")
    lines.append(f"| `{update}` | that device | 1 | no | {chunk} of a sealed update |")
    return "\n".join(lines) + "\n"


def bounds() -> str:
    """The numbers that both sides must agree on, or that this implementation has chosen."""
    options, limits = MqttOptions(), LinkLimits()
    heartbeat = DeviceSettings.__struct_defaults__[
        DeviceSettings.__struct_fields__.index("heartbeat_s")
        - len(DeviceSettings.__struct_fields__)
    ]
    rows = [
        ("a JSON message, signed", f"{thousands(MAX_MESSAGE_BYTES)} bytes", "agreed"),
        ("a chunk; all but the last", f"exactly {thousands(CHUNK_BYTES)} bytes", "agreed"),
        ("a signature", f"{SIGNATURE_BYTES} bytes", "agreed"),
        ("the header of tensors", f"{thousands(MAX_HEADER_BYTES)} bytes", "agreed"),
        ("a block of `delta-int8`", f"{thousands(INT8_BLOCK)} numbers", "agreed"),
        ("rotations that are followed", f"{MAX_SUCCESSIONS}", "agreed"),
        ("spans in a grant", f"{MAX_SPANS}", "agreed"),
        ("a text for people", f"{MAX_TEXT} characters", "agreed"),
        ("an offered bundle", f"{thousands(MAX_BUNDLE_BYTES)} bytes", "agreed"),
        ("keepalive", f"{options.keepalive_s} s", "chosen"),
        ("session expiry", f"{options.session_expiry_s} s", "chosen"),
        ("Receive Maximum that is announced", f"{options.receive_maximum}", "chosen"),
        ("Maximum Packet Size that is announced",
         f"{thousands(options.largest_packet_bytes)} bytes", "chosen"),
        ("delay of a device's last will", f"{publisher._WILL_DELAY_S} s", "chosen"),
        ("unacknowledged packets in flight", f"{limits.window}, or the broker's Receive Maximum",
         "chosen"),
        ("of these, chunks", f"{limits.bulk_window}", "chosen"),
        ("model chunks asked for and not yet come", f"{model_download._WINDOW}", "chosen"),
        ("wait before a new connection", f"{options.backoff.first_s:g} s, doubled up to "
         f"{options.backoff.longest_s:g} s, times a random factor from 0.5 to 1", "chosen"),
        ("between two heartbeats", f"{heartbeat:g} s", "chosen"),
    ]  # fmt: skip
    lines = ["| what | bound | agreed, or chosen here |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows)]) + "\n"


def reasons() -> str:
    """Every reason for a refusal."""
    documented = docstrings(RejectReason)
    lines = ["| reason | what it says |", "|---|---|"]
    lines += [f"| `{reason.value}` | {documented[reason.name]} |" for reason in RejectReason]
    return "\n".join(lines) + "\n"


DRAWN: dict[str, Callable[[], str]] = {
    "topics": topics,
    "bounds": bounds,
    "reasons": reasons,
    **{kind.__name__: partial(members, kind) for kind in STRUCTS},
}


def page(text: str) -> str:
    """The page with every table drawn anew; KeyError for a mark that nothing is drawn for."""
    return _BLOCK.sub(lambda m: f"<!-- drawn: {m[1]} -->\n{DRAWN[m[1]]()}<!-- end -->\n", text)


def missing(text: str) -> set[str]:
    """What could be drawn and has no place on the page."""
    return set(DRAWN) - {match[1] for match in _BLOCK.finditer(text)}


if __name__ == "__main__":
    drawn = page(TARGET.read_text(encoding="utf-8"))
    if missing(drawn):
        sys.exit(f"{TARGET} has no place for: {', '.join(sorted(missing(drawn)))}")
    if "--print" in sys.argv[1:]:
        print(drawn, end="")
    else:
        TARGET.write_text(drawn, encoding="utf-8")
