"""The operators' desk: what a list of operators lets in, and what their requests do.

An input is JSON: a list of steps, each of which says a request that is then signed, or lets time
pass. In a body `"$epoch"` stands for the epoch that the coordinator is in.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

from identities import key_of
from json_mutation import change_json, json_bytes
from message_examples import nasty_json
from recipe import scratch

from pfedfrz_coordinator.admission import Admission, EnrolmentPolicy, QuarantinePolicy
from pfedfrz_coordinator.ignored_messages import IgnoredMessages
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.key_lists import FollowedKeys, read_operators
from pfedfrz_coordinator.operator_desk import OperatorDesk
from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.registry import Registry
from pfedfrz_protocol import OperatorAnswer, RejectReason, Topics, decode_message, encode_message
from targets.signed_messages import sign_body

TOPICS = Topics("lab")
EPOCH = 7
_MOST_STEPS = 40
_OPERATORS = ("anna", "ben")
_REASONS = frozenset(RejectReason)


class _Room:
    """A desk on a disk in memory; it takes the place of what publishes its answers."""

    def __init__(self) -> None:
        self.now_s = 0.0
        place = scratch() / "operators"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        keys = "".join(f'{name} = "{key_of(name).public}"\n' for name in _OPERATORS)
        (place / "operators.toml").write_text(f"[operators]\n{keys}")
        self.registry, self.journal = Registry(place), Journal(place / "journal.sqlite")
        self.registry.enrol("pi", key_of("pi").public)
        self.registry.let_wait("new", key_of("new").public)
        self.admission = Admission(
            self.registry,
            "lab",
            lambda: self.now_s,
            enrolment=EnrolmentPolicy(),
            quarantine=QuarantinePolicy(),
            quotas=QuotaPolicy(),
        )
        self.answers: list[tuple[str, OperatorAnswer]] = []
        self.ignored = IgnoredMessages()
        self.desk = OperatorDesk(
            FollowedKeys(place / "operators.toml", read_operators, "list of operators"),
            EPOCH,
            self.registry,
            self.admission,
            self.journal,
            self,  # type: ignore[arg-type]
            self.ignored,
            self.follow,
            lambda: self.now_s,
        )

    def follow(self) -> None:
        self.admission.look_for_changes()

    def answer(self, operator: str, answer: OperatorAnswer) -> None:
        self.answers.append((operator, answer))

    def close(self) -> None:
        self.registry.close()
        self.journal.close()


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _filled(v) for k, v in value.items()}
    return EPOCH if value == "$epoch" else value


def _name(step: dict[str, Any], field: str, other: str) -> str:
    return str(step.get(field, other)).encode("utf-8", "replace").decode()


def _do(room: _Room, step: dict[str, Any]) -> None:
    seconds = step.get("wait_s")
    if isinstance(seconds, int | float) and 0 <= seconds < 1e9:
        room.now_s += seconds
        return
    operator = _name(step, "operator", "anna")
    signer = _name(step, "by", operator)
    topic = TOPICS.operator(operator, "request")
    sender = TOPICS.parse_operator(topic)
    if sender is None:
        return
    payload = sign_body(json_bytes(_filled(step.get("body", {}))), topic, signer)
    told, rows, notes = len(room.answers), room.registry.rows(), len(room.journal.notes())
    for _ in range(2 if step.get("twice") else 1):
        room.desk.on_message(sender, topic, payload)
    if signer != operator or operator not in _OPERATORS:
        assert len(room.answers) == told, "somebody else was answered"
    if not any(answer.done for _, answer in room.answers[told:]):
        assert room.registry.rows() == rows, "what was not done has changed something"
    assert len(room.journal.notes()) <= notes + 2, "one request was written down as several"


def target(data: bytes) -> None:
    """Whatever operators say, nothing is raised, and only their own signed words do something."""
    try:
        steps = json.loads(data)
    except (ValueError, RecursionError):
        steps = []
    room = _Room()
    try:
        for topic in (TOPICS.operator("anna", "request"), TOPICS.operator("x", "request")):
            sender = TOPICS.parse_operator(topic)
            assert sender is not None
            room.desk.on_message(sender, topic, data)
        for step in steps[:_MOST_STEPS] if isinstance(steps, list) else ():
            if isinstance(step, dict):
                _do(room, step)
        assert set(room.ignored.counts) <= _REASONS
        assert all(note.isprintable() for note in room.journal.notes())
        for _, answer in room.answers:
            assert decode_message(encode_message(answer), OperatorAnswer) == answer
    finally:
        room.close()


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    return change_json(data, limit, seed)


def _ask(serial: Any, kind: str, **rest: Any) -> dict[str, Any]:
    action = {"type": kind, **rest}
    return {"operator": "anna", "body": {"epoch": "$epoch", "serial": serial, "action": action}}


def seeds() -> dict[str, bytes]:
    key = key_of("other").public
    runs: dict[str, list[dict[str, Any]]] = {
        "all": [
            _ask(1, "pause"),
            _ask(2, "resume"),
            _ask(3, "accept", device="new"),
            _ask(4, "quarantine", device="pi", reason="odd\n\u202e"),
            _ask(5, "readmit", device="pi"),
            _ask(6, "revoke", device="pi"),
            _ask(7, "accept", device="pi", key=key),
            _ask(8, "permit-join", seconds=1e9),
        ],
        "twice": [{**_ask(1, "pause"), "twice": True}, _ask(1, "resume"), _ask(0, "resume")],
        "another-signer": [{**_ask(1, "pause"), "by": "ben"}, {**_ask(1, "pause"), "operator": "x"}],
        "old-epoch": [{"body": {"epoch": 6, "serial": 1, "action": {"type": "pause"}}}],
        "path-trick": [_ask(1, "revoke", device="../x"), {**_ask(2, "pause"), "operator": "../x"}],
        "huge-numbers": [_ask(2**70, "pause"), _ask(1, "permit-join", seconds=1e308)],
        "negative": [_ask(-1, "pause"), _ask(1, "permit-join", seconds=-1)],
        "unknown-kind": [_ask(1, "stop"), _ask(2, "accept", device="pi", standing="enrolled")],
        "long-reason": [_ask(1, "quarantine", device="pi", reason="\u00e9" * 501)],
        "flood": [_ask(n, "pause") for n in range(30)] + [{"wait_s": 10}, _ask(99, "resume")],
    }  # fmt: skip
    found = {name: json_bytes(steps) for name, steps in runs.items()}
    for name in ("deep-value", "duplicated-keys", "lone-surrogate", "bad-utf-8", "truncated"):
        found[f"bytes-{name}"] = nasty_json()[name]
    return found
