"""What the page is told: everything once, then only what changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from federation_messages import Speaker
from plausible_federation import PlausibleFederation

from pfedfrz_monitor.view import FederationView
from pfedfrz_monitor.watch import Health
from pfedfrz_monitor.web.picture import MOST_CELLS, Picture, encode
from pfedfrz_protocol import (
    ModelReference,
    Purpose,
    RejectReason,
    RoundAnnouncement,
    Topics,
    TransferReference,
)

NOWHERE = TransferReference(0, "0" * 64)
HEALTH = Health("mqtt://127.0.0.1:1883", True, heard=True)


def replayed(first: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """What a page has in the end: the snapshot with all changes written over it."""
    state: dict[str, dict[Any, Any]] = {"devices": {}, "rounds": {}, "cells": {}}
    keys = {
        "devices": lambda row: row[0],
        "rounds": lambda row: row[0],
        "cells": lambda row: tuple(row[:2]),
    }
    head = first["head"]
    for said in (first, *changes):
        for number in said.get("gone", ()):
            state["rounds"].pop(number, None)
            state["cells"] = {key: row for key, row in state["cells"].items() if key[0] != number}
        for part, key in keys.items():
            for row in said.get(part, ()):
                state[part][key(row)] = row
        head = said.get("head", head)
    return {"head": head, **state}


def test_changes_lead_to_what_a_new_page_is_told() -> None:
    federation = PlausibleFederation(8, 2)
    federation.arrive()
    picture = Picture({})
    picture.update(federation.view, HEALTH, 0.0)
    first = json.loads(encode("snapshot", 0, picture.whole()).split(b"data: ")[1])
    changes = []
    for number in range(1, 5):
        names = federation.open(number)
        for name in names:
            federation.deliver(name, number)
            changes.append(picture.update(federation.view, HEALTH, 0.0))
        federation.close(number)
        changes.append(picture.update(federation.view, HEALTH, 0.0))
    whole = picture.whole()
    assert replayed(first, *json.loads(json.dumps(changes))) == replayed(
        json.loads(json.dumps(whole))
    )
    assert len(whole["cells"]) == 4 * 8


def test_a_change_names_the_changed_device_alone() -> None:
    federation = PlausibleFederation(50, 0)
    federation.arrive()
    federation.open(1)
    picture = Picture({})
    picture.update(federation.view, HEALTH, 0.0)
    federation.deliver("board-07", 1)
    changes = picture.update(federation.view, HEALTH, 0.0)
    assert [row[1] for row in changes["devices"]] == ["board-07"]
    assert len(changes["cells"]) == 1
    assert len(json.dumps(changes)) < 1000


def test_nothing_new_is_nothing_said() -> None:
    federation = PlausibleFederation(3, 0)
    federation.go(1)
    picture = Picture({})
    picture.update(federation.view, HEALTH, 0.0)
    assert picture.update(federation.view, HEALTH, 0.0) == {}


def test_a_broken_connection_is_news_without_a_message() -> None:
    picture = Picture({})
    view = PlausibleFederation(1, 0).view
    picture.update(view, HEALTH, 0.0)
    changes = picture.update(view, Health("mqtt://127.0.0.1:1883", False, fault="gone"), 0.0)
    assert list(changes) == ["head"]
    assert changes["head"]["fault"] == "gone"


def test_rounds_of_another_life_are_gone() -> None:
    federation = PlausibleFederation(3, 0)
    federation.go(5)
    picture = Picture({})
    picture.update(federation.view, HEALTH, 0.0)
    federation.open(2, epoch=2)
    changes = picture.update(federation.view, HEALTH, 0.0)
    assert set(changes["gone"]) >= {3, 4, 5}
    assert {row[0] for row in picture.whole()["rounds"]} == {1, 2}
    assert {row[0] for row in picture.whole()["cells"]} == {1, 2}


def test_a_rejected_update_comes_with_its_reason() -> None:
    speaker = Speaker()
    speaker.announce(1, "a", "b")
    speaker.rejected("a", 1, RejectReason.NORM_EXCEEDED, "48 over 12")
    picture = Picture({})
    picture.update(speaker.view, HEALTH, 0.0)
    row = next(row for row in picture.whole()["cells"] if len(row) > 3)
    assert row[2] == 3
    assert row[8] == "norm-exceeded: 48 over 12"


def test_a_new_round_pushes_out_the_cells_of_old_ones() -> None:
    devices = MOST_CELLS // 4
    federation = PlausibleFederation(devices, 0)
    federation.arrive(share_labels=False)
    picture = Picture({})
    for number in range(1, 7):
        federation.open(number)
        picture.update(federation.view, HEALTH, 0.0)
    cells = picture.whole()["cells"]
    assert len(cells) <= MOST_CELLS
    assert {row[0] for row in cells} == {3, 4, 5, 6}
    late = Picture({})
    late.update(federation.view, HEALTH, 0.0)
    assert {row[0] for row in late.whole()["cells"]} == {3, 4, 5, 6}


def test_a_federation_that_says_nothing_is_told_too() -> None:
    picture = Picture({"a": "kitchen"}, acts=True)
    picture.update(
        FederationView(Topics("lab")), Health("mqtt://x", True, federations=("barn",)), 0
    )
    whole = picture.whole()
    assert whole["federation"] == "lab"
    assert whole["head"]["federations"] == ("barn",)
    assert (whole["labels"], whole["acts"]) == ({"a": "kitchen"}, True)


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    event = encode("changes", 7, {"log": ["a\n\ndata: b\r\u2028"]})
    assert event.startswith(b"event: changes\nid: 7\ndata: {")
    assert event.endswith(b"}\n\n")
    assert event.count(b"\n") == 4
    assert b"\r" not in event


def test_what_is_no_text_is_told_all_the_same() -> None:
    picture = Picture({"\ud800": "attacker\udcff"})
    picture.update(PlausibleFederation(1, 0).view, Health("replay of runs/\udcff", True), 0.0)
    told = json.loads(encode("snapshot", 0, picture.whole()).split(b"data: ")[1])
    assert told["labels"] == {"\\ud800": "attacker\\udcff"}
    assert told["head"]["source"] == "replay of runs/\\udcff"


def test_rounds_of_ever_new_names_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfedfrz_monitor.web.picture._MOST_NAMES", 10)
    federation = PlausibleFederation(3, 0)
    federation.arrive()
    picture = Picture({})
    for number in range(1, 6):
        federation.view.on_announcement(
            RoundAnnouncement(
                number, 1, "0" * 64, Purpose.TRAIN, ModelReference(0, "0" * 64, NOWHERE),
                (*federation.names, *(f"board-{number}-{place}" for place in range(4))), 60.0,
            )
        )  # fmt: skip
        picture.update(federation.view, HEALTH, 0.0)
    cells = picture.whole()["cells"]
    assert {device for _, device, _ in cells} == set(range(10))
    assert [row[:2] for row in cells].count([5, 0]) == 1, "those that are known are still told"
