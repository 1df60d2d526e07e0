"""The page in a real browser, behind it a federation that only moves when a test moves it."""

from __future__ import annotations

import time

import msgspec
import pytest
from open_page import OpenPage, Window, picture, serious_faults, whole
from plausible_federation import PlausibleFederation, StillWatch
from playwright.sync_api import expect

from pfedfrz_monitor import FederationView
from pfedfrz_monitor.settings import WebSettings
from pfedfrz_monitor.watch import Health
from pfedfrz_monitor.web import PageServer
from pfedfrz_protocol import (
    AcceptDevice,
    Control,
    DesiredState,
    Pause,
    Presence,
    QuarantineDevice,
    RejectReason,
    Resume,
    RevokeDevice,
    Topics,
)

pytestmark = pytest.mark.page
ANY_PORT = WebSettings(listen="127.0.0.1:0")


def running(devices: int = 12, rounds: int = 14) -> PlausibleFederation:
    """A round is open, a device is off, one waits, one is quarantined, one wants to come in."""
    federation = PlausibleFederation(devices, 2, start_s=time.time() - 10 * rounds)
    federation.go(rounds)
    names = federation.open(rounds + 1)
    for index, name in enumerate(names):
        if index % 3 == 0:
            federation.deliver(name, rounds + 1)
        elif index % 3 == 1:
            federation.train(name, rounds + 1)
    view = federation.view
    off, waits = federation.names[4], federation.names[6]
    view.on_status(off, federation.status(off, (), Presence.OFFLINE))
    counts = view.devices[waits].label_counts
    view.on_status(waits, federation.status(waits, counts, Presence.WAITING, "on battery"))
    federation.members(
        quarantined={min(federation.bad): "3 updates refused"}, waiting=("board-99",)
    )
    return federation


def test_everything_is_drawn_and_accessible(open_page: OpenPage, window: Window, axe: str) -> None:
    watch = StillWatch(running().view, may_act=True)
    with PageServer(watch, ANY_PORT, {"board-03": "kitchen"}) as server:
        page = open_page(server.url, window)
        whole(page)
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator("#now-round")).to_have_text("Round 15")
        expect(page.locator("#now-detail")).to_contain_text("of 12 delivered")
        assert "over 14 rounds" in (page.locator("#accuracy").get_attribute("aria-label") or "")
        expect(page.locator("#device-table tbody tr:not(.gap)")).to_have_count(13)
        expect(page.locator("tr[data-device=board-03] th button")).to_have_text("kitchen")
        expect(page.locator("tr[data-device=board-05] .presence")).to_have_text("offline")
        expect(page.locator("tr[data-device=board-07] .presence")).to_have_text("on battery")
        expect(page.locator("tr[data-device=board-99] .presence")).to_have_text("to be accepted")
        assert page.evaluate("document.documentElement.scrollWidth") <= window.width
        picture(page, f"running-{window.name}")
        assert serious_faults(page, axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dialogs_are_accessible(open_page: OpenPage, scheme: str, axe: str) -> None:
    watch = StillWatch(running().view, may_act=True)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url, Window(scheme, scheme="dark" if scheme == "dark" else "light"))
        page.click("tr[data-device=board-01] th button")
        picture(page, f"device-{scheme}")
        assert serious_faults(page, axe) == []
        page.click("[data-action=revoke]")
        assert serious_faults(page, axe) == []
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.locator("#keys-dialog")).to_be_visible()
        assert serious_faults(page, axe) == []


def test_an_attacker_stands_out(open_page: OpenPage) -> None:
    federation = PlausibleFederation(10, 2)
    federation.arrive()
    names = federation.open(1)
    for name in names:
        federation.deliver(name, 1)
    federation.close(1)
    with PageServer(StillWatch(federation.view), ANY_PORT) as server:
        page = open_page(server.url)
        expect(page.locator("#updates")).to_have_attribute("role", "img")
        said = page.locator("#updates").get_attribute("aria-label") or ""
        assert "2 of them pull against the others" in said
        for name in federation.bad:
            assert name in said
            expect(page.locator(f"tr[data-device={name}] .against")).to_be_attached()
        assert page.locator(".c-cosine.against").count() == 2


def test_curves_and_cells_move(open_page: OpenPage) -> None:
    federation = PlausibleFederation(5, 0)
    federation.go(2)
    watch = StillWatch(federation.view)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        before = page.locator("#accuracy canvas").screenshot()
        assert "over 2 rounds" in (page.locator("#accuracy").get_attribute("aria-label") or "")
        with watch.reading():
            federation.round(3)
        expect(page.locator("#accuracy[aria-label*='over 3 rounds']")).to_be_visible()
        assert page.locator("#accuracy canvas").screenshot() != before
        expect(page.locator("#now-round")).to_have_text("Round 3 closed")


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'`${alert(3)}"


def test_a_hostile_device_writes_text_and_nothing_else(open_page: OpenPage) -> None:
    federation = PlausibleFederation(3, 0)
    federation.arrive()
    federation.open(1)
    federation.fail("board-1", 1, HOSTILE)
    federation.reject("board-2", 1, RejectReason.MALFORMED, HOSTILE)
    view = federation.view
    view.on_status("board-3", federation.status("board-3", (), Presence.WAITING, HOSTILE))
    # Names cannot hold such a thing; should one ever, it would be text too.
    view.on_status(HOSTILE, federation.status(HOSTILE))
    federation.members(quarantined={"board-2": HOSTILE})
    with PageServer(StillWatch(view, may_act=True), ANY_PORT, {"board-1": HOSTILE}) as server:
        page = open_page(server.url)
        whole(page)
        expect(page.locator("#log")).to_contain_text("onerror=alert(1)")
        expect(page.locator("#reasons")).to_contain_text("<script>alert(2)</script>")
        page.click("tr[data-device=board-1] th button")
        expect(page.locator("#device-name")).to_contain_text("<img src=x")
        page.keyboard.press("Escape")
        page.locator(".fleet-scroll").focus()
        page.keyboard.press("ArrowUp")
        expect(page.locator("#tip")).to_be_visible()
        assert page.locator("main img, main script, dialog img, #tip img").count() == 0


def test_nothing_leaves_the_machine_and_the_token_stays_out_of_requests(
    open_page: OpenPage,
) -> None:
    with PageServer(StillWatch(running().view, may_act=True), ANY_PORT) as server:
        page = open_page(server.url)
        own = server.url.partition("#")[0]
        assert open_page.requests
        assert all(asked.startswith(own) for asked in open_page.requests)
        assert not any(server.access.token in asked for asked in open_page.requests)
        assert server.access.token not in page.url
        page.reload()
        expect(page.locator("#pause")).to_be_visible()


def test_pause_and_resume_are_asked_for(open_page: OpenPage) -> None:
    federation = running()
    watch = StillWatch(federation.view, may_act=True)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        page.click("#pause")
        expect(page.locator(".toast")).to_have_text("done")
        with watch.reading() as view:
            view.on_control(Control(DesiredState.PAUSE, 2))
        expect(page.locator("#state")).to_have_text("pausing after this round")
        expect(page.locator("#pause")).to_have_text("Resume")
        page.locator("#main").focus()
        page.keyboard.press("p")
        expect(page.locator(".toast")).to_have_count(2)
        assert watch.asked == [Pause(), Resume()]


def test_devices_are_let_in_and_thrown_out(open_page: OpenPage) -> None:
    watch = StillWatch(running().view, may_act=True)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        for device, action in (("board-99", "accept"), ("board-01", "quarantine")):
            page.click(f"tr[data-device={device}] th button")
            page.click(f"[data-action={action}]")
            expect(page.locator("#device-dialog")).not_to_be_visible()
        page.click("tr[data-device=board-02] th button")
        page.click("[data-action=revoke]")
        assert RevokeDevice("board-02") not in watch.asked
        page.click("text=Keep it")
        page.click("[data-action=revoke]")
        page.click("[data-action=really-revoke]")
        expect(page.locator("#device-dialog")).not_to_be_visible()
        assert watch.asked == [
            AcceptDevice("board-99"),
            QuarantineDevice("board-01", "by the operator"),
            RevokeDevice("board-02"),
        ]


def test_without_the_token_there_are_no_controls(open_page: OpenPage) -> None:
    with PageServer(StillWatch(running().view, may_act=True), ANY_PORT) as server:
        page = open_page(server.url.partition("#")[0])
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator("#pause")).to_be_hidden()
        page.click("tr[data-device=board-01] th button")
        assert page.locator("[data-action]").count() == 0


def test_beyond_this_machine_the_page_asks_for_its_token(open_page: OpenPage, axe: str) -> None:
    with PageServer(StillWatch(running().view), WebSettings(listen="0.0.0.0:0")) as server:
        page = open_page(server.url.partition("#")[0], ready=False)
        expect(page.locator("#notice-title")).to_have_text("This page needs its token")
        assert serious_faults(page, axe) == []
        picture(page, "token")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token-form")).to_be_visible()
        page.fill("#token", server.access.token)
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("name", ["waiting", "unheard", "no-broker", "over"])
def test_what_is_awaited_is_said(open_page: OpenPage, name: str, axe: str) -> None:
    federation = PlausibleFederation(3, 0)
    source = "mqtt://127.0.0.1:1883"
    if name == "over":
        federation = PlausibleFederation(10, 2, seed=5)
        federation.go(20)
        federation.evaluate(21)
        watch, said = StillWatch(federation.view), ""
    elif name == "waiting":
        federation.arrive()
        watch, said = StillWatch(federation.view), "3 devices are there"
    elif name == "unheard":
        health = Health(source, True, federations=("barn", "greenhouse"))
        watch = StillWatch(FederationView(Topics("lab")), health=health)
        said = "Seen on this broker: barn, greenhouse."
    else:
        health = Health(source, False, fault="connection refused")
        watch = StillWatch(federation.view, health=health)
        said = "Connection refused. What the page shows is from before."
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        whole(page)
        if said:
            expect(page.locator("#notice")).to_contain_text(said)
        else:
            expect(page.locator("#state")).to_have_text("over")
            expect(page.locator("#notice")).to_be_hidden()
        picture(page, name)
        assert serious_faults(page, axe) == []


def test_a_thousand_devices_make_few_rows_and_are_found(open_page: OpenPage) -> None:
    federation = PlausibleFederation(1000, 30)
    federation.go(6, share=0.5)
    with PageServer(StillWatch(federation.view), ANY_PORT) as server:
        page = open_page(server.url)
        whole(page)
        picture(page, "thousand")
        assert page.locator("#device-table tbody tr").count() < 40
        page.fill("#search", "board-0777")
        expect(page.locator("#device-table tbody tr:not(.gap)")).to_have_count(1)
        page.fill("#search", "nothing like it")
        expect(page.locator("#device-table .empty")).to_have_text(
            "No device has that in its name, label or state."
        )
        page.fill("#search", "")
        expect(page.locator("#device-table .empty")).to_be_hidden()
        expect(page.locator("tr[data-device=board-0001]")).to_be_visible()
        page.evaluate("document.getElementById('device-table').scrollTop = 1e9")
        expect(page.locator("tr[data-device=board-1000]")).to_be_visible()
        page.select_option("#order", "cosine")
        page.evaluate("document.getElementById('device-table').scrollTop = 0")
        expect(page.locator("#device-table tbody tr:not(.gap) .c-cosine").first).to_contain_text(
            "\N{MINUS SIGN}"
        )


def test_a_round_that_only_measured_is_called_so_and_numbers_keep_their_rounds(
    open_page: OpenPage,
) -> None:
    federation = PlausibleFederation(6, 0)
    federation.go(3)
    federation.evaluate(4)
    device, cell = federation.view.devices["board-1"], federation.view.rounds[4].cells["board-1"]
    assert cell.report is not None
    device.latest = cell.report = msgspec.structs.replace(cell.report, local=None)
    watch = StillWatch(federation.view)
    watch.health = Health("replay of run", True, heard=True, speed=5.0)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        whole(page)
        expect(page.locator("#now-round")).to_have_text("Last model measured")
        expect(page.locator("#rate")).to_have_text("speed 5\N{MULTIPLICATION SIGN}")
        page.click("tr[data-device=board-1] th button")
        expect(page.locator("#device-dialog")).to_contain_text("% in round 4")
        expect(page.locator("#device-dialog")).to_contain_text("% in round 3")


def test_the_map_is_walked_by_keys(open_page: OpenPage) -> None:
    with PageServer(StillWatch(running().view), ANY_PORT) as server:
        page = open_page(server.url)
        whole(page)
        page.locator(".fleet-scroll").focus()
        for key in ("ArrowDown", "ArrowLeft", "ArrowDown"):
            page.keyboard.press(key)
        expect(page.locator("#fleet-said")).to_contain_text("board-02, round 14: outcome accepted")
        page.keyboard.press("Enter")
        expect(page.locator("#device-name")).to_have_text("board-02")


def test_every_control_is_reached_by_tab(open_page: OpenPage) -> None:
    with PageServer(StillWatch(running().view, may_act=True), ANY_PORT) as server:
        page = open_page(server.url)
        whole(page)
        expect(page.locator("#pause")).to_be_visible()
        reached = set()
        for _ in range(45):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate("document.activeElement.id || document.activeElement.className")
            )
        assert {"skip", "pause", "theme", "help", "round-before", "order", "fleet-scroll", "search",
                "device-table", "log"} <= reached  # fmt: skip


def test_the_theme_is_switched_and_kept(open_page: OpenPage) -> None:
    with PageServer(StillWatch(running().view), ANY_PORT) as server:
        page = open_page(server.url)
        colour = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(colour)
        page.keyboard.press("t")
        dark = page.evaluate(colour)
        assert dark != light
        page.reload()
        assert page.evaluate(colour) == dark


def test_the_page_says_that_the_monitor_is_gone_and_comes_back(open_page: OpenPage) -> None:
    watch = StillWatch(running().view)
    with PageServer(watch, ANY_PORT) as server:
        page = open_page(server.url)
        place = server.url.split("/")[2]
    expect(page.locator("#state")).to_have_text("monitor lost")
    expect(page.locator("#notice")).to_contain_text("tries again by itself")
    with PageServer(watch, WebSettings(listen=place)):
        expect(page.locator("#state")).to_have_text("running", timeout=15_000)


def test_a_device_may_be_called_like_what_every_object_has(
    open_page: OpenPage, window: Window
) -> None:
    federation = PlausibleFederation(3, 0)
    federation.arrive()
    federation.view.on_status("constructor", federation.status("constructor", ()))
    with PageServer(StillWatch(federation.view), ANY_PORT) as server:
        page = open_page(server.url, window)
        shown = page.evaluate(
            "import('/assets/page/store.js').then((store) =>"
            " store.store.devices.map((device) => store.display(device)))"
        )
        assert "constructor" in shown
