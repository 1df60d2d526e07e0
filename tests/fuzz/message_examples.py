"""A message of every kind, and JSON that is meant to hurt."""

from __future__ import annotations

from typing import Any

import msgspec

from pfedfrz_protocol import (
    AcceptDevice,
    Accepted,
    BundleInstalled,
    BundleOffer,
    BundleRefused,
    CollectOrder,
    Command,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    Grant,
    Heartbeat,
    LocalReport,
    Membership,
    ModelReference,
    NotAdmitted,
    OperatorAnswer,
    OperatorRequest,
    Pause,
    PermitJoin,
    PhaseProgress,
    Presence,
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
    Succession,
    SumImpossible,
    SumReady,
    TrainableSet,
    TransferReference,
    UpdateHeld,
    UpdateReady,
    UpdateUnfit,
    UploadGoesOn,
    UploadOrder,
    WorkerEvent,
)

__all__ = ["EXAMPLES", "KINDS", "nasty_json"]

_D = "0" * 64
_TRANSFER = TransferReference(300_000, _D)
_REPORT = LocalReport(60, 0.5, 0.75, 1.25, 1000, 2.5, 0.5, 0.1, 0.2)
_LINK = Succession(_D, "1" * 64, "2" * 128)
_MODEL = ModelReference(2, _D, _TRANSFER)

EXAMPLES: dict[Any, list[msgspec.Struct]] = {
    CoordinatorStatus: [CoordinatorStatus(Presence.ONLINE, _D, 7, _D, (_LINK,))],
    Control: [Control(DesiredState.RUN, 7)],
    RoundAnnouncement: [
        RoundAnnouncement(3, 7, _D, Purpose.TRAIN, _MODEL, ("a", "b-1", "c.2"), 30.0)
    ],
    DeviceStatus: [
        DeviceStatus(Presence.OFFLINE, "boot", _D, "onnxruntime", 60, _D, (_LINK,)),
        DeviceStatus(Presence.WAITING, "boot", _D, "onnxruntime", 60, _D, waiting_for="power"),
    ],
    Heartbeat: [Heartbeat("boot", "working", 3, 12.5)],
    DeviceEvent: [
        PhaseProgress(3, 1, 2, TrainableSet.ALL, 0, 3, 0.5),
        UpdateReady(3, 7, "boot", _D, _TRANSFER, _REPORT),
        Evaluated(3, 7, "boot", _REPORT),
        RoundFailed(3, 7, "boot", "no room"),
        BundleInstalled(3, _D, "boot", "all carried over"),
        BundleRefused(3, _D, "boot", "no room"),
    ],
    Command: [
        Grant(3, 7, ((0, 1), (4, 4))),
        Accepted(3, 7),
        Rejected(3, 7, RejectReason.LATE, "closed"),
        NotAdmitted(RejectReason.REVOKED, "revoked"),
    ],
    RoundMetrics: [
        RoundMetrics(
            3,
            Purpose.TRAIN,
            2,
            3,
            2,
            {RejectReason.LATE: 1},
            0,
            0.5,
            0.6,
            1.0,
            5,
            6,
            1.5,
            {"a": 1.0},
            0.1,
            0.2,
            {RejectReason.MALFORMED: 2},
        )
    ],
    TransferReference: [_TRANSFER],
    LocalReport: [_REPORT],
    UploadOrder: [UploadOrder(3, 7, _D, "a", _D, _TRANSFER, _MODEL)],
    CollectOrder: [CollectOrder(3, 7, 1, (("a", _D),))],
    WorkerEvent: [
        UploadGoesOn(3, 7, "a", _TRANSFER),
        UpdateHeld(3, 7, "a", _TRANSFER, 60, 0.5),
        UpdateUnfit(3, 7, "a", _TRANSFER, RejectReason.NOT_FINITE, "NaN"),
        SumReady(3, 7, 1, 60, _TRANSFER),
        SumImpossible(3, 7, 1, ("a",)),
    ],
    BundleOffer: [BundleOffer(3, _D, _TRANSFER)],
    OperatorRequest: [
        OperatorRequest(7, 1, Pause()),
        OperatorRequest(7, 2, Resume()),
        OperatorRequest(7, 3, AcceptDevice("a", _D)),
        OperatorRequest(7, 4, QuarantineDevice("a", "odd")),
        OperatorRequest(7, 5, ReadmitDevice("a")),
        OperatorRequest(7, 6, RevokeDevice("a")),
        OperatorRequest(7, 7, PermitJoin(60.0)),
    ],
    OperatorAnswer: [OperatorAnswer(7, 1, True, "paused")],
    Membership: [Membership(2, ("w",), {"q": "5 failures"}, ("r",), True)],
    RoundHistory: [RoundHistory((RoundBrief(3, Purpose.TRAIN, 1e9, 2.5, 3, 2, 1, 0, 0.5),))],
}
KINDS: tuple[Any, ...] = tuple(EXAMPLES)


def nasty_json() -> dict[str, bytes]:
    """The classes of attack on anything that reads JSON, by name."""
    return {
        "deep-arrays": b"[" * 1500,
        "deep-objects": b'{"a":' * 1500,
        "deep-value": b'{"presence":' + b"[" * 1500 + b"]" * 1500 + b"}",
        "duplicated-keys": b'{"samples":1,"samples":2,"presence":"online","boot_id":"b","bundle":"'
        + b"0" * 64 + b'","runtime":"r","key":"' + b"0" * 64 + b'"}',
        "not-a-number": b'{"samples":NaN}',
        "infinity": b'{"samples":-Infinity}',
        "huge-number": b'{"samples":' + b"9" * 5000 + b"}",
        "huge-exponent": b'{"samples":1e999999}',
        "negative": b'{"samples":-1}',
        "bad-utf-8": b'{"boot_id":"\xff\xfe"}',
        "overlong-utf-8": b'{"boot_id":"\xc0\xaf"}',
        "bad-key-utf-8": b'{"\xff":1}',
        "lone-surrogate": b'{"boot_id":"\\ud800"}',
        "foreign-digits": '{"boot_id":"١٢٣","runtime":"‮evil","x":"é"}'.encode(),
        "utf-16": '{"boot_id":"b"}'.encode("utf-16"),
        "nul": b'{"boot_id":"\\u0000"}',
        "line-break": b'{"boot_id":"a\\n"}',
        "path-trick": b'{"boot_id":"../../etc/passwd"}',
        "truncated": b'{"boot_id":"a","bund',
        "empty": b"",
        "trailing": b"{}{}",
    }  # fmt: skip
