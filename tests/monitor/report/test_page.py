from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from page_reader import Page

from pfedfrz_monitor.report import Part, Refusal, RunRecord, encode_page


def test_the_page_shows_the_run(record: RunRecord) -> None:
    page = Page(encode_page(record))
    for part in (
        "3 devices, 1 of them sign-flip attackers",
        "Dirichlet 0.1 labels",
        "cnn-small, personal: front",
        "80.0 %",
        "90.0 %",
        "2 rejected: 1 late, 1 norm-exceeded",
        "d3 was late in round 2",
        "pfedfrz emulate --devices 3",
        "batch size",
        "the cache",
        "not finite",
    ):
        assert part in page.text
    assert "stopped early" not in page.text


def test_a_split_that_is_neither_even_nor_dirichlet_is_named(record: RunRecord) -> None:
    turned = replace(record, settings=replace(record.settings, alpha=None, split="rotation(4)"))
    text = Page(encode_page(turned)).text
    assert "rotation(4) split" in text
    assert "IID" not in text
    even = replace(record, settings=replace(record.settings, alpha=None, split="iid"))
    assert "IID labels" in Page(encode_page(even)).text


def test_it_stands_alone(record: RunRecord) -> None:
    page = Page(encode_page(record))
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "ping"}
    addresses = [value for _, name, value in page.attributes if name in loading]
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|@font-face", page.style)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & set(page.tags)


def test_the_policy_admits_this_style_and_nothing_else(record: RunRecord) -> None:
    page = Page(encode_page(record))
    (policy,) = (value for _, name, value in page.attributes if "default-src" in value)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    # What the policy would silently drop must not be there.
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


HOSTILE = "</style><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\"'\x00\udcff"


def test_whatever_is_put_into_it_is_escaped(record: RunRecord) -> None:
    settings = replace(
        record.settings,
        method=HOSTILE,
        dataset=HOSTILE,
        model=HOSTILE,
        personal=HOSTILE,
        attack=HOSTILE,
        runtime=HOSTILE,
        broker=HOSTILE,
        command=HOSTILE,
        dataset_source=HOSTILE,
        started_at=HOSTILE,
        details=((HOSTILE, HOSTILE),),
    )
    parts = (Part("accepted", 1.0, 0.5), Part("accepted", 1.0, 0.5))
    record = replace(
        record,
        devices=tuple(replace(d, parts=parts, standing="waiting") for d in record.devices),
        refusals=(Refusal(1, "gone", "late", "too late", 0, 1.0),),
        environment={"python": "3.11"},
    )
    devices = tuple(replace(d, device=HOSTILE, standing=HOSTILE) for d in record.devices)
    hostile = replace(
        record,
        settings=settings,
        devices=devices,
        notes=(HOSTILE,),
        rejected={HOSTILE: 1},
        refusals=(Refusal(1, f"{HOSTILE}gone", HOSTILE, HOSTILE, 0, 1.0),),
        environment={"python": HOSTILE},
    )
    clean, page = Page(encode_page(record)), Page(encode_page(hostile))
    extra = len(page.tags) - len(clean.tags)
    assert set(page.tags) == set(clean.tags)
    assert extra == 0
    assert page.style == clean.style
    assert page.text.count("<script>alert(1)</script>") >= 15


def test_an_interrupted_run_says_so(record: RunRecord) -> None:
    settings = replace(record.settings, rounds=30)
    assert (
        "2 of 30 rounds were completed"
        in Page(encode_page(replace(record, settings=settings))).text
    )


def test_a_run_that_never_began_is_still_a_page(record: RunRecord) -> None:
    bare = tuple(replace(device, received=(), local=()) for device in record.devices)
    empty = replace(record, devices=bare, rounds=(), closing=None, rejected={}, notes=())
    page = Page(encode_page(empty))
    assert "0 of 2 rounds were completed" in page.text
    assert "never measured" in page.text


@pytest.mark.parametrize(("devices", "classes", "rounds"), [(1, 2, 1), (100, 10, 60), (5, 47, 3)])
def test_small_and_large_runs_are_pages(
    record: RunRecord, devices: int, classes: int, rounds: int
) -> None:
    mix = tuple(1 / classes for _ in range(classes))
    series = tuple(n / rounds for n in range(rounds))
    pattern = replace(record.devices[0], label_mix=mix, received=series, local=series)
    large = replace(
        record,
        devices=tuple(replace(pattern, device=f"d{n}") for n in range(devices)),
        rounds=tuple(replace(record.rounds[0], round=n + 1) for n in range(rounds)),
        closing=None,
    )
    content = encode_page(large)
    page = Page(content)
    assert page.tags.count("tr") == 2 + devices + 1 + rounds
    assert page.text.count("d0 ") >= 1
    assert len(content) < 500_000


def test_the_same_run_gives_the_same_bytes(record: RunRecord) -> None:
    assert encode_page(record) == encode_page(record)
