"""The page in a real browser, behind it a real fleet: processes, over Mosquitto."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from open_page import OpenPage, Window, picture, serious_faults, whole
from playwright.sync_api import Page, expect

from pfedfrz_emulator.brokers import start_broker
from pfedfrz_emulator.experiment import Experiment
from pfedfrz_emulator.fleet import Fleet
from pfedfrz_emulator.fleet_files import write_fleet_files
from pfedfrz_emulator.preparation import prepare_fleet
from pfedfrz_monitor.settings import MonitorSettings, WebSettings
from pfedfrz_monitor.watch import open_watch
from pfedfrz_monitor.web import PageServer
from pfedfrz_protocol import SigningKey
from pfedfrz_storage import save_signing_key

pytestmark = [pytest.mark.page, pytest.mark.timeout(300)]
FEDERATION = "page-lab"
PATIENCE_MS = 120_000


@dataclass(frozen=True)
class LiveFleet:
    members: Fleet
    page: PageServer
    attackers: tuple[str, ...]
    benign: tuple[str, ...]


@contextlib.contextmanager
def live(
    folder: Path, *, rounds: int, deadline_s: float, operator: bool = False, samples: int = 120
) -> Iterator[LiveFleet]:
    """Six devices, two of them attackers, and the page that watches them."""
    experiment = Experiment(
        dataset="digits", model="mlp", alpha=100.0, devices=6, attackers=2, rounds=rounds,
        samples=samples, test_per_class=10, deadline_s=deadline_s, aggregation="median",
    )  # fmt: skip
    fleet = prepare_fleet(experiment)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(start_broker("mosquitto", folder / "broker"))
        settings, operators = MonitorSettings(FEDERATION, broker.url), {}
        if operator:
            key, path = SigningKey.generate(), folder / "keeper.pem"
            save_signing_key(path, key)
            operators = {"keeper": key.public}
            settings = msgspec.structs.replace(settings, operator="keeper", operator_key_file=path)
        files = write_fleet_files(fleet, folder, FEDERATION, broker.url, operators=operators)
        watch = open_watch(settings)
        watch.start()
        stack.callback(watch.close)
        page = stack.enter_context(PageServer(watch, WebSettings(listen="127.0.0.1:0")))
        members = stack.enter_context(Fleet(fleet, files))
        members.start()
        attackers = tuple(device.name for device in fleet.devices if device.attacker)
        yield LiveFleet(members, page, attackers, tuple(sorted(fleet.benign)))


def rounds_drawn(page: Page) -> int:
    said = page.locator("#accuracy").get_attribute("aria-label") or ""
    found = re.search(r"over (\d+) rounds", said)
    return int(found[1]) if found else 0


def await_rounds(page: Page, count: int) -> None:
    waited = page.locator("#accuracy")
    many = "|".join(str(number) for number in range(count, count + 60))
    expect(waited).to_have_attribute(
        "aria-label", re.compile(rf"over ({many}) rounds"), timeout=PATIENCE_MS
    )


def test_a_live_fleet_is_seen(open_page: OpenPage, tmp_path: Path, axe: str) -> None:
    with live(tmp_path, rounds=5000, deadline_s=4.0) as fleet:
        page = open_page(fleet.page.url, Window("live"))
        whole(page)
        await_rounds(page, 3)
        whole(page)
        before = page.locator("#accuracy canvas").screenshot()
        await_rounds(page, rounds_drawn(page) + 3)
        assert page.locator("#accuracy canvas").screenshot() != before
        expect(page.locator("#device-table tbody tr:not(.gap)")).to_have_count(6)

        # Attackers pull against the step, the others with it.
        for name in fleet.attackers:
            against = page.locator(f"tr[data-device={name}] .c-cosine.against")
            expect(against).to_be_attached(timeout=PATIENCE_MS)
        said = page.locator("#updates").get_attribute("aria-label") or ""
        assert all(name in said for name in fleet.attackers)

        lost = fleet.benign[0]
        row = page.locator(f"tr[data-device={lost}] .presence")
        expect(row).to_have_text("online")
        os.kill(fleet.members.pid(lost), signal.SIGKILL)
        expect(row).to_have_text("offline", timeout=PATIENCE_MS)
        expect(page.locator("#log")).to_contain_text(f"{lost} offline")
        picture(page, "live")
        assert serious_faults(page, axe) == []


def test_pause_really_pauses(open_page: OpenPage, tmp_path: Path) -> None:
    with live(tmp_path, rounds=5000, deadline_s=20.0, operator=True) as fleet:
        page = open_page(fleet.page.url)
        await_rounds(page, 2)
        page.click("#pause")
        expect(page.locator("#state")).to_have_text("paused", timeout=PATIENCE_MS)
        expect(page.locator("#pause")).to_have_text("Resume")
        stopped = rounds_drawn(page)
        page.wait_for_timeout(4000)
        assert rounds_drawn(page) == stopped
        page.click("#pause")
        await_rounds(page, stopped + 2)
