import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_protocol import (
    Accepted,
    BundleInstalled,
    BundleOffer,
    BundleRefused,
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
    ModelReference,
    NotAdmitted,
    PhaseProgress,
    Presence,
    ProtocolError,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    RoundMetrics,
    Succession,
    TrainableSet,
    TransferReference,
    UpdateReady,
    decode_message,
    encode_message,
)

D = "ab" * 32
T = TransferReference(10, D)
REPORT = LocalReport(100, 0.25, 0.5, 1.5, 10, 1.0, 2.0)
MESSAGES: list[tuple[msgspec.Struct, type]] = [
    (CoordinatorStatus(Presence.ONLINE, D, 3, D), CoordinatorStatus),
    (Control(DesiredState.PAUSE, 3), Control),
    (
        RoundAnnouncement(1, 2, D, Purpose.TRAIN, ModelReference(0, D, T), ("a", "b"), 60.0),
        RoundAnnouncement,
    ),
    (DeviceStatus(Presence.OFFLINE, "b00t", D, "onnxruntime", 5, D), DeviceStatus),
    (
        DeviceStatus(
            Presence.ONLINE, "b00t", D, "onnxruntime", 5, D, (Succession(D, "cd" * 32, D + D),)
        ),
        DeviceStatus,
    ),
    (Heartbeat("b00t", "idle", 3, 1.5), Heartbeat),
    (PhaseProgress(1, 0, 2, TrainableSet.PERSONAL, 0, 1, 2.3), DeviceEvent),
    (UpdateReady(1, 2, "b00t", D, T, REPORT), DeviceEvent),
    (Evaluated(1, 2, "b00t", LocalReport(5)), DeviceEvent),
    (RoundFailed(1, 2, "b00t", "no space"), DeviceEvent),
    (BundleOffer(3, D, T), BundleOffer),
    (BundleInstalled(3, D, "b00t", "all"), DeviceEvent),
    (BundleRefused(3, D, "b00t", "no room"), DeviceEvent),
    (Grant(1, 2), Command),
    (Accepted(1, 2), Command),
    (Rejected(1, 2, RejectReason.LATE, "over"), Command),
    (NotAdmitted(RejectReason.NOT_ENROLLED, "ask"), Command),
    (
        RoundMetrics(
            1, Purpose.TRAIN, 0, 2, 1, {RejectReason.LATE: 1}, 0, 0.5, None, None, 9, 8, 1.0,
            {"a": 0.5},
        ),
        RoundMetrics,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "kind"), MESSAGES, ids=lambda v: type(v).__name__)
def test_every_message_comes_back_as_it_was_sent(message: msgspec.Struct, kind: type) -> None:
    assert decode_message(encode_message(message), kind) == message


@pytest.mark.parametrize(("message", "kind"), MESSAGES, ids=lambda v: type(v).__name__)
def test_an_unknown_field_is_refused(message: msgspec.Struct, kind: type) -> None:
    fields = msgspec.json.decode(encode_message(message))
    with pytest.raises(ProtocolError) as caught:
        decode_message(msgspec.json.encode({**fields, "surprise": 1}), kind)
    assert caught.value.reason is RejectReason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"round": -1},
        {"round": 10**12},
        {"round": "1"},
        {"deadline_s": -1.0},
        {"selected": ["../evil"]},
        {"selected": ["a" * 65]},
        {"selected": ["a/b"]},
        {"bundle": "xyz"},
        {"purpose": "destroy"},
    ],
)
def test_a_field_out_of_its_bounds_is_refused(changes: dict[str, object]) -> None:
    fields = msgspec.json.decode(encode_message(MESSAGES[2][0]))
    with pytest.raises(ProtocolError):
        decode_message(msgspec.json.encode({**fields, **changes}), RoundAnnouncement)


@pytest.mark.parametrize("position", [-1, 0])
@pytest.mark.parametrize("field", ["bundle", "boot_id"])
def test_a_line_break_around_a_name_or_a_digest_is_refused(field: str, position: int) -> None:
    fields = msgspec.json.decode(encode_message(MESSAGES[3][0]))
    fields[field] = f"{fields[field]}\n" if position else f"\n{fields[field]}"
    with pytest.raises(ProtocolError):
        decode_message(msgspec.json.encode(fields), DeviceStatus)


NASTY = "no\nspace \x1b[2J\u202e\ud800" + "x" * 1000


@pytest.mark.parametrize(
    "message",
    [
        RoundFailed(1, 2, "b", NASTY),
        Rejected(1, 2, RejectReason.LATE, NASTY),
        BundleRefused(3, D, "b", NASTY),
        BundleInstalled(3, D, "b", NASTY),
    ],
)
def test_what_people_read_is_one_printable_line_on_both_sides(
    message: RoundFailed | Rejected | BundleRefused | BundleInstalled,
) -> None:
    assert message.detail.startswith(r"no\nspace \x1b[2J\u202e\ud800xxx")
    assert len(message.detail) == 500
    kind = Command if isinstance(message, Rejected) else DeviceEvent
    assert decode_message(encode_message(message), kind) == message  # type: ignore[arg-type]
    fields = msgspec.json.decode(encode_message(message))
    foreign = msgspec.json.encode({**fields, "detail": "two\nlines\x07"})
    found: object = decode_message(foreign, kind)  # type: ignore[arg-type]
    assert isinstance(found, RoundFailed | Rejected | BundleRefused | BundleInstalled)
    assert found.detail == r"two\nlines\x07"


def test_what_a_refusal_quotes_is_one_printable_line() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_message(b'{"\\n2026 forged \\u001b[2J": 1}', Control)
    assert str(caught.value).isprintable()
    assert caught.value.detail.isprintable()
    assert "forged" in str(caught.value)


def test_an_accuracy_above_one_is_refused() -> None:
    event = msgspec.json.decode(encode_message(Evaluated(1, 2, "b", LocalReport(5, 0.5))))
    event["report"]["received"] = 1.5
    with pytest.raises(ProtocolError):
        decode_message(msgspec.json.encode(event), DeviceEvent)  # type: ignore[arg-type]


def test_an_oversized_message_is_refused_unread() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_message(b" " * (5 << 20), Control)
    assert caught.value.reason is RejectReason.TOO_LARGE


@given(st.binary(max_size=300), st.sampled_from([kind for _, kind in MESSAGES]))
def test_noise_is_a_protocol_error(noise: bytes, kind: type) -> None:
    with pytest.raises(ProtocolError):
        decode_message(noise, kind)


@pytest.mark.parametrize("payload", [b"[" * 200_000, b'{"a":' * 200_000, b'"\xff\xfe"'])
def test_deep_and_foreign_json_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_message(payload, DeviceEvent)  # type: ignore[arg-type]


def test_a_coordinator_never_waits() -> None:
    said = CoordinatorStatus(Presence.ONLINE, "0" * 64, 1, "1" * 64)
    payload = encode_message(said).replace(b'"online"', b'"waiting"')
    with pytest.raises(ProtocolError, match="a coordinator is online or offline"):
        decode_message(payload, CoordinatorStatus)


def test_what_a_device_waits_for_is_one_line_and_absent_when_it_does_not() -> None:
    said = DeviceStatus(Presence.ONLINE, "boot", "0" * 64, "onnxruntime", 60, "1" * 64)
    assert b"waiting_for" not in encode_message(said)
    waits = msgspec.structs.replace(said, presence=Presence.WAITING, waiting_for="hot\nforged")
    assert waits.waiting_for == "hot\\nforged"
    assert decode_message(encode_message(waits), DeviceStatus) == waits
