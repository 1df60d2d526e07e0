"""docs/monitoring.md, "As a page": its settings are read as it says."""

from __future__ import annotations

import re
from pathlib import Path

from pfedfrz_monitor.settings import WebSettings, load_monitor_settings
from pfedfrz_monitor.web.access import Listen
from pfedfrz_monitor.web.hub import Hub

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()


def test_the_settings_are_those_of_a_monitor(tmp_path: Path) -> None:
    (text,) = (block for block in re.findall(r"```toml\n(.+?)```", PAGE, re.S) if "[web]" in block)
    path = tmp_path / "monitor.toml"
    path.write_text(f'federation = "lab"\n{text}')
    web = load_monitor_settings(path).web
    assert web.listen == WebSettings().listen
    assert Listen.parse(web.listen).is_loopback
    assert web.hosts == ("monitor.lan",)
    assert web.token_file == tmp_path / "page-token"


def test_so_many_pages_are_open_at_once() -> None:
    most = (Hub.__init__.__kwdefaults__ or {})["most_pages"]
    assert f"At most {most} pages are open at once" in " ".join(PAGE.split())
