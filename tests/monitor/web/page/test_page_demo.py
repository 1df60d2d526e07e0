"""`scripts/demo --web`: what a newcomer runs, and the picture that the README opens with."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from open_page import OpenPage, Window, picture, whole
from playwright.sync_api import expect

pytestmark = [pytest.mark.page, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[4]
OVER_MS = 180_000


class Demo:
    """The demo in a terminal of its own."""

    def __init__(self, out: Path) -> None:
        self._screen, inside = pty.openpty()
        command = [ROOT / "scripts" / "demo", "--web", "127.0.0.1:0", "--out", out]
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
        self.said = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until it has said that."""
        while (found := re.search(pattern, self.said)) is None:
            try:
                more = os.read(self._screen, 65_536)
            except OSError:  # Linux says so where the other end is closed
                more = b""
            assert more, f"it ended before it said {pattern!r}: {self.said[-2000:]}"
            self.said += more.decode(errors="replace")
        return found

    def end(self) -> None:
        """Whatever happens, nothing is left of it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._screen)


@contextlib.contextmanager
def running(out: Path) -> Iterator[Demo]:
    demo = Demo(out)
    try:
        yield demo
    finally:
        demo.end()


def test_a_newcomer_sees_who_attacks(open_page: OpenPage, tmp_path: Path) -> None:
    """Nobody knows who attacks but by the updates; labels tell the reader who it was."""
    with running(tmp_path / "run") as demo:
        url = demo.until(r"(http://\S+#token=[\w-]+)")[1]
        pages = [
            open_page(url, Window("demo-light", height=1120)),
            open_page(url, Window("demo-dark", height=1120, scheme="dark")),
        ]
        for page, name in zip(pages, ("demo-light", "demo-dark"), strict=True):
            drawn = page.locator("#accuracy")
            expect(drawn).to_have_attribute(
                "aria-label", re.compile("over (9|10) rounds"), timeout=OVER_MS
            )
            picture(page, name)
        expect(pages[0].locator("#state")).to_have_text("over", timeout=OVER_MS)
        demo.until("the page stays until Ctrl-C")
        whole(pages[0])
        said = pages[0].locator("#log").inner_text()
        named = {re.match(r"(device-\d\d)", line)[1]  # type: ignore[index]
                 for line in said.splitlines() if "keeps pulling against" in line}  # fmt: skip
        assert named == {"device-01", "device-02"}, said
        os.killpg(demo.process.pid, signal.SIGINT)
        assert demo.process.wait(30) == 0
