"""The screen, driven by keys as a person would, over a watch that a test speaks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from spoken_watch import SpokenWatch
from textual.pilot import Pilot
from textual.widgets import Input

from pfedfrz_monitor.terminal import MonitorApp
from pfedfrz_monitor.watch import Health
from pfedfrz_protocol import (
    DesiredState,
    OperatorAnswer,
    Pause,
    Presence,
    Purpose,
    QuarantineDevice,
    RejectReason,
    Resume,
    RevokeDevice,
)

Scene = Callable[[MonitorApp, "Pilot[None]"], Awaitable[None]]


def shown(app: MonitorApp) -> list[str]:
    """The lines of the terminal."""
    strips = app.screen._compositor.render_strips()
    return [strip.text.rstrip() for strip in strips]


def text(app: MonitorApp) -> str:
    return "\n".join(shown(app))


def play(
    watch: SpokenWatch,
    scene: Scene,
    size: tuple[int, int] = (120, 36),
    labels: dict[str, str] | None = None,
) -> None:
    async def run() -> None:
        app = MonitorApp(watch, labels or {})
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await scene(app, pilot)

    asyncio.run(run())


async def see(app: MonitorApp, pilot: Pilot[None]) -> None:
    app.look()
    await pilot.pause()


@pytest.fixture
def watch() -> SpokenWatch:
    """Three devices in round 2; `c` pulls against the others."""
    watch = SpokenWatch()
    lab = watch.lab
    lab.control(DesiredState.RUN)
    lab.announce(1, "a", "b", "c")
    for name, local in (("a", 0.75), ("b", 0.5), ("c", 0.125)):
        lab.ready(name, 1, 0.25, local)
    lab.close(
        1, 3, 3, norms={"a": 1.0, "b": 1.5, "c": 9.0}, cosines={"a": 0.75, "b": 0.5, "c": -0.5}
    )
    lab.announce(2, "a", "b", "c")
    lab.progress("a", 2)
    return watch


def test_the_screen_shows_the_federation_the_round_and_every_device(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        lines = shown(app)
        assert lines[0].startswith(" lab  ● running  coordinator online  3/3 devices")
        assert lines[1].startswith(" round 2 ")
        assert "1 training 2 selected" in lines[1]
        (row,) = (line for line in lines if line.startswith(" ● a "))
        assert row.split()[2:] == ["train", "67%", "25.0", "75.0", "▇", "1", "+0.75", "0/0", "60"]
        (row,) = (line for line in lines if line.startswith(" ● c "))
        assert "-0.50" in row.split()
        assert any("round 1 closed: 3/3 in" in line for line in lines)

    play(watch, scene)


def test_what_happens_is_drawn_when_it_happens(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        watch.lab.rejected("b", 2, RejectReason.NOT_FINITE, "a NaN in fc1.weight")
        watch.lab.status("c", Presence.OFFLINE)
        watch.lab.control(DesiredState.PAUSE)
        await see(app, pilot)
        assert "‖ paused" in shown(app)[0]
        assert "b rejected in round 2: not-finite: a NaN in fc1.weight" in text(app)
        assert any(line.startswith(" ○ c ") and "offline" in line for line in shown(app))
        assert any(line.startswith(" ● b ") and "rejected" in line for line in shown(app))

    play(watch, scene, size=(140, 36))


def test_what_others_wrote_is_text_and_no_markup(watch: SpokenWatch) -> None:
    watch.lab.rejected("b", 2, RejectReason.NOT_FINITE, "[red]NaN[/red] \x1b[31m in $error")

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "[red]NaN[/red] \\x1b[31m in $error" in text(app)
        assert "● a [b]hall[/b]\\x1b" in text(app)
        await pilot.press("slash", *"[red]")
        assert "0 of 3 devices with '[red]'" in text(app)

    play(watch, scene, size=(140, 36), labels={"a": "[b]hall[/b]\x1b"})


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, ["device", "now"]),
        (60, ["device", "now", "local %", "cosine"]),
        (80, ["device", "now", "rcvd %", "local %", "local by round", "norm", "cosine"]),
    ],
)
def test_columns_that_matter_less_go_first(
    watch: SpokenWatch, width: int, columns: list[str]
) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        head = next(line for line in shown(app) if line.startswith(" device "))
        for title in columns:
            assert title in head
        assert ("samples" in head) == ("samples" in columns)
        assert all(len(line) <= width for line in shown(app))
        assert shown(app)[-1].startswith(" ? help  q quit")

    play(watch, scene, size=(width, 20))


def test_a_terminal_without_room_says_so_and_comes_back(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "too small: 30x8, needs 40x12" in text(app)
        await pilot.resize_terminal(80, 24)
        await see(app, pilot)
        assert "too small" not in text(app)
        assert "● a" in text(app)

    play(watch, scene, size=(30, 8))


def test_the_order_follows_the_keys_and_the_cursor_stays_on_its_device(
    watch: SpokenWatch,
) -> None:
    def names(app: MonitorApp) -> list[str]:
        return [line.split()[1] for line in shown(app) if line.startswith((" ●", " ○"))]

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        watch.lab.status("b", Presence.OFFLINE)
        watch.lab.view.devices["c"].opposes = True
        await see(app, pilot)
        assert names(app) == ["a", "b", "c"]
        await pilot.press("down", "s")
        assert names(app) == ["c", "b", "a"], "by trouble: against the others, offline, fine"
        assert any(line.startswith(" b: ") for line in shown(app)), "b is still chosen"
        await pilot.press("s")
        assert names(app) == ["c", "b", "a"], "by accuracy, the worst first"
        await pilot.press("S")
        assert names(app) == ["a", "b", "c"]

    play(watch, scene)


def test_only_devices_that_fit_the_filter_are_shown_until_escape(watch: SpokenWatch) -> None:
    watch.lab.status("b", Presence.OFFLINE)

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"offline")
        await pilot.pause()
        assert "1 of 3 devices with 'offline'" in text(app)
        assert "● a" not in text(app)
        await pilot.press("enter", "escape")
        await pilot.pause()
        assert "● a" in text(app)
        assert not app.query_one("#filter", Input).has_class("open")

    play(watch, scene)


def test_who_only_watches_is_told_why_a_key_does_nothing(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "(no operator key)" in shown(app)[-1]
        await pilot.press("p")
        await pilot.pause()
        assert [n.message for n in app._notifications] == [
            "this monitor only watches: an operator's --config has operator and operator_key_file"
        ]
        assert watch.asked == []

    play(watch, scene)


def test_a_replay_says_that_it_is_one(watch: SpokenWatch) -> None:
    watch.health = Health("replay of run", connected=True, since=1.0, heard=True, speed=5.0)

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert shown(app)[0].rstrip().endswith("replay x5")
        assert "(a replay)" in shown(app)[-1]
        await pilot.press("p")
        await pilot.pause()
        assert [n.message for n in app._notifications] == [
            "this is a replay: nothing can be changed in what has been"
        ]

    play(watch, scene)


def test_a_round_that_only_measures_takes_no_number_away(watch: SpokenWatch) -> None:
    watch.lab.ready("a", 2, 0.25, 0.875)
    watch.lab.close(2, 3, 3)
    watch.lab.announce(3, "a", "b", "c", purpose=Purpose.EVALUATE)
    watch.lab.evaluated("a", 3, 0.5, None)
    watch.lab.close(3, 0, 3, Purpose.EVALUATE)

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        (row,) = (line.split() for line in shown(app) if line.startswith(" ● a "))
        assert {"50.0", "87.5"} <= set(row)
        assert "round 3 measured the model" in text(app)
        (row,) = (line.split() for line in shown(app) if line.startswith(" 3 eval "))
        assert "0/3" not in row

    play(watch, scene)


def test_a_pause_is_asked_for_after_a_question_and_its_answer_is_shown(
    watch: SpokenWatch,
) -> None:
    watch.may_act = True

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        await pilot.press("p")
        await pilot.pause()
        assert "Pause the rounds?" in text(app)
        await pilot.press("n")
        assert watch.asked == []
        await pilot.press("p")
        await pilot.press("y")
        ((action, answer),) = watch.asked
        assert action == Pause()
        answer.set_result(OperatorAnswer(1, 1, True, "paused [by] ann"))
        await see(app, pilot)
        assert [n.message for n in app._notifications] == ["paused [by] ann"]
        watch.lab.control(DesiredState.PAUSE)
        await see(app, pilot)
        assert "p resume" in shown(app)[-1]
        await pilot.press("p", "y")
        assert watch.asked[-1][0] == Resume()
        watch.asked[-1][1].set_result(OperatorAnswer(0, 0, False, "the coordinator is away"))
        await see(app, pilot)
        assert [n.message for n in app._notifications][-1] == "not done: the coordinator is away"

    play(watch, scene)


def test_the_chosen_device_is_quarantined_and_revoked_only_by_its_typed_name(
    watch: SpokenWatch,
) -> None:
    watch.may_act = True

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "x", "y")
        assert watch.asked[0][0] == QuarantineDevice("c", "by hand")
        await pilot.press("X")
        await pilot.pause()
        assert "Revoke the key of c?" in text(app)
        await pilot.press("y", "enter")
        await pilot.pause()
        assert "that is not c" in text(app)
        await pilot.press("backspace", "c", "enter")
        assert watch.asked[1][0] == RevokeDevice("c")
        await pilot.press("m")
        await pilot.pause()
        assert [n.message for n in app._notifications] == ["c is not quarantined"]

    play(watch, scene)


def test_what_is_wrong_with_the_watching_is_said(watch: SpokenWatch) -> None:
    watch.health = Health("mqtt://broker", connected=True, since=1.0, federations=("lab2", "shop"))

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "! connected, but nothing of 'lab' is heard: on this broker are lab2" in text(app)
        watch.health = Health("mqtt://broker", since=time.time(), fault="closed")
        await see(app, pilot)
        assert "! lost mqtt://broker: closed" in text(app)
        assert "● not connected" in shown(app)[0]

    play(watch, scene)


def test_below_are_rounds_or_the_log_or_nothing(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "what happened" not in text(app)
        await pilot.press("v")
        await pilot.pause()
        assert "what happened" in text(app)
        await pilot.press("v")
        await pilot.pause()
        assert "what happened" not in text(app)
        assert "rounds" not in text(app)

    play(watch, scene, size=(80, 24))


def test_help_and_themes_and_the_end(watch: SpokenWatch) -> None:
    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        assert "accept, quarantine, readmit" in text(app)
        await pilot.press("escape")
        before = app.theme
        await pilot.press("t")
        assert app.theme != before
        await pilot.press("q")

    play(watch, scene)


def test_ten_thousand_devices_are_looked_at_without_waiting() -> None:
    watch = SpokenWatch()
    lab = watch.lab
    lab.control(DesiredState.RUN)
    lab.announce(1, "a")
    lab.ready("a", 1, 0.25, 0.75)
    one = lab.view.devices["a"]
    for number in range(10_000):
        name = f"pi-{number}"
        lab.view.devices[name] = type(one)(presence=Presence.ONLINE, latest=one.latest)

    async def scene(app: MonitorApp, pilot: Pilot[None]) -> None:
        assert "10,001 devices" in text(app)
        began = time.perf_counter()
        for _ in range(8):
            lab.view.revision += 1
            app.look()
            await pilot.press("pagedown")
        took = time.perf_counter() - began
        assert took < 3.0, f"eight pages took {took:.2f} s"
        await pilot.press("end")
        await pilot.pause()
        assert "● pi-9999" in text(app)
        assert len(app.query_one("#devices").rows_in_sight) < 40  # type: ignore[attr-defined]

    play(watch, scene)
