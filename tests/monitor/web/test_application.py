"""The server's answers: headers, hosts, origins, the token, actions and the stream."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from plausible_federation import PlausibleFederation, StillWatch
from starlette.testclient import TestClient

from pfedfrz_monitor.settings import WebSettings
from pfedfrz_monitor.web import PageServer, serve
from pfedfrz_monitor.web.access import Access, Listen
from pfedfrz_monitor.web.application import ASSETS, SECURITY_HEADERS, make_application
from pfedfrz_monitor.web.hub import Hub
from pfedfrz_protocol import OperatorAction, OperatorAnswer, Pause, QuarantineDevice

BASE = "http://127.0.0.1:8765"
TOKEN = "a-token-of-some-length"


def client_of(watch: StillWatch, listen: str = "127.0.0.1:8765") -> TestClient:
    access = Access(Listen.parse(listen), acts=watch.may_act, token=TOKEN)
    return TestClient(make_application(watch, Hub(watch, {}), access), base_url=BASE)


@pytest.fixture
def watch() -> StillWatch:
    federation = PlausibleFederation(4, 1)
    federation.go(2)
    return StillWatch(federation.view, may_act=True)


ACT = {"origin": BASE, "authorization": f"Bearer {TOKEN}"}


def test_every_answer_has_the_headers(watch: StillWatch) -> None:
    client = client_of(watch)
    for answer in (
        client.get("/"),
        client.get("/assets/page.css"),
        client.get("/nothing"),
        client.post("/act", json={}),
        client.get("/", headers={"host": "evil.example"}),
    ):
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value
    policy = SECURITY_HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy


def test_the_page_has_neither_inline_script_nor_style_nor_foreign_addresses() -> None:
    page = (ASSETS / "index.html").read_text()
    assert "style=" not in page
    assert "<script>" not in page
    for path in ASSETS.rglob("*"):
        if path.suffix in {".js", ".css", ".html"} and "vendor" not in path.parts:
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in text, path
            assert "https://" not in text, path
            assert "innerHTML" not in text, path


def test_assets_end_at_their_folder(watch: StillWatch) -> None:
    client = client_of(watch)
    assert client.get("/assets/page/main.js").status_code == 200
    for path in ("/assets/../hub.py", "/assets/%2e%2e/hub.py", "/assets/page", "/assets/"):
        assert client.get(path).status_code == 404


def test_licences_lie_beside_what_is_not_ours() -> None:
    for folder in (ASSETS / "vendor").iterdir():
        assert "Permission is hereby granted" in (folder / "LICENSE").read_text()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example"])
def test_another_name_is_not_answered(watch: StillWatch, host: str) -> None:
    for path in ("/", "/events", "/assets/page.css"):
        answer = client_of(watch).get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "hosts of [web]" in answer.text


def test_an_action_is_asked_and_answered(watch: StillWatch) -> None:
    client = client_of(watch)
    answer = client.post("/act", json={"type": "pause"}, headers=ACT)
    assert (answer.status_code, answer.json()) == (200, {"done": True, "detail": "done"})
    said = {"type": "quarantine", "device": "board-1", "reason": "loud"}
    assert client.post("/act", json=said, headers=ACT).json()["done"]
    assert watch.asked == [Pause(), QuarantineDevice("board-1", "loud")]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": None}, 403),
        ({"authorization": None}, 401),
        ({"authorization": "Bearer another"}, 401),
        ({"authorization": TOKEN}, 401),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_an_action_needs_the_page_and_the_token(
    watch: StillWatch, change: dict[str, str | None], status: int
) -> None:
    headers = {**ACT, "content-type": "application/json", **change}
    sent = {name: value for name, value in headers.items() if value is not None}
    answer = client_of(watch).post("/act", content=b'{"type":"pause"}', headers=sent)
    assert answer.status_code == status
    assert watch.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"type":"explode"}',
        b'{"type":"revoke"}',
        b'{"type":"revoke","device":"<script>"}',
        b'{"type":"revoke","device":"../x"}',
        b'{"type":"pause","more":1}',
        b'{"type":"quarantine","device":"a","reason":"' + b"x" * 5000 + b'"}',
    ],
)
def test_what_is_no_action_is_refused(watch: StillWatch, body: bytes) -> None:
    headers = {**ACT, "content-type": "application/json"}
    answer = client_of(watch).post("/act", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("no action: ")
    assert watch.asked == []


def test_who_only_watches_has_no_controls() -> None:
    watch = StillWatch(PlausibleFederation(1, 0).view)
    answer = client_of(watch).post("/act", json={"type": "pause"}, headers=ACT)
    assert answer.status_code == 403
    assert client_of(watch).get("/act").status_code == 405


class _Refusing(StillWatch):
    def ask(self, action: OperatorAction) -> Future[OperatorAnswer]:
        answer = Future[OperatorAnswer]()
        answer.set_result(OperatorAnswer(0, 0, False, "the broker is away"))
        return answer


def test_why_nothing_was_done_is_said() -> None:
    watch = _Refusing(PlausibleFederation(1, 0).view, may_act=True)
    answer = client_of(watch).post("/act", json={"type": "pause"}, headers=ACT)
    assert answer.json() == {"done": False, "detail": "the broker is away"}


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    while line := answer.readline().decode():
        if line.startswith("event: "):
            name = line[7:].strip()
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


class Reader:
    """Opens the stream of events as a browser would, and closes all in the end."""

    def __init__(self) -> None:
        self._open: list[tuple[http.client.HTTPConnection, http.client.HTTPResponse]] = []

    def __call__(self, server: PageServer, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=10)
        connection.request("GET", "/events", headers=headers)
        answer = connection.getresponse()
        self._open.append((connection, answer))
        return answer

    def close(self) -> None:
        for connection, answer in self._open:
            answer.close()
            connection.close()


@pytest.fixture
def opened() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


def test_a_page_is_told_everything_and_then_what_changes(watch: StillWatch, opened: Reader) -> None:
    with PageServer(watch, WebSettings(listen="127.0.0.1:0"), {"board-1": "kitchen"}) as server:
        answer = opened(server)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        stream = events(answer)
        name, whole = next(stream)
        assert (name, whole["federation"], whole["labels"]) == (
            "snapshot", "greenhouse", {"board-1": "kitchen"}
        )  # fmt: skip
        assert len(whole["devices"]) == 4
        with watch.reading() as view:
            view.on_status("board-9", PlausibleFederation(1, 0).status("board-9"))
        name, changes = next(stream)
        assert name == "changes"
        assert [row[1] for row in changes["devices"]] == ["board-9"]
        again = events(opened(server, **{"last-event-id": "3"}))
        name, whole = next(again)
        assert (name, len(whole["devices"])) == ("snapshot", 5)


def test_texts_of_devices_stay_text(watch: StillWatch, opened: Reader) -> None:
    evil = "<img src=x onerror=alert(1)>\n\nevent: snapshot"
    with watch.reading() as view:
        view.on_status("board-1", PlausibleFederation(1, 0).status("board-1", (), why=evil))
    with PageServer(watch, WebSettings(listen="127.0.0.1:0")) as server:
        stream = events(opened(server))
        _, whole = next(stream)
        said = next(row for row in whole["devices"] if row[1] == "board-1")[3]
        assert said.startswith("<img src=x")


def test_other_sites_get_no_events(watch: StillWatch) -> None:
    answer = client_of(watch).get("/events", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert client_of(watch).post("/events").status_code == 405


def test_beyond_this_machine_events_need_the_token(watch: StillWatch) -> None:
    client = client_of(watch, "0.0.0.0:8765")
    assert client.get("/events").status_code == 401
    assert client.get("/events", headers={"authorization": "Bearer no"}).status_code == 401
    assert client.get("/").status_code == 200


def test_a_page_that_reads_nothing_is_let_go_and_the_others_go_on(
    watch: StillWatch, opened: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs: list[Hub] = []

    def quick(watch: StillWatch, labels: dict[str, str], **other: None) -> Hub:
        hubs.append(Hub(watch, labels, period_s=0.01, waiting_most=3))
        return hubs[0]

    monkeypatch.setattr("pfedfrz_monitor.web.server.Hub", quick)
    federation = PlausibleFederation(400, 0)
    federation.arrive()
    watch.view = federation.view
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            with watch.reading() as view:
                for name in federation.names:
                    view.on_status(name, federation.status(name, (1,) * 100, why=str(time.time())))
            stop.wait(0.005)

    with PageServer(watch, WebSettings(listen="127.0.0.1:0")) as server:
        host, port = server.url.split("/")[2].split(":")
        deaf = socket.create_connection((host, int(port)))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        stream = events(opened(server))
        next(stream)
        changing = threading.Thread(target=change)
        changing.start()
        try:
            until = time.monotonic() + 20
            while hubs[0].page_count != 1:
                assert time.monotonic() < until, "the deaf page is still told things"
                assert next(stream)[0] == "changes"
        finally:
            stop.set()
            changing.join()
            deaf.close()


def test_only_so_many_pages_are_open(watch: StillWatch, opened: Reader) -> None:
    with PageServer(watch, WebSettings(listen="127.0.0.1:0")) as server:
        pages = [opened(server) for _ in range(33)]
        assert sorted({page.status for page in pages}) == [200, 503]
        assert [page.status for page in pages].count(503) == 1


def test_closing_ends_open_pages_at_once(watch: StillWatch, opened: Reader) -> None:
    with PageServer(watch, WebSettings(listen="127.0.0.1:0")) as server:
        stream = events(opened(server))
        next(stream)
        began = time.monotonic()
    assert list(stream) == []
    assert time.monotonic() - began < 2


def test_the_first_look_is_told_and_no_other(watch: StillWatch, opened: Reader) -> None:
    looked: list[float] = []
    first = lambda: looked.append(time.monotonic())  # noqa: E731
    with PageServer(watch, WebSettings(listen="127.0.0.1:0"), on_first_page=first) as server:
        assert looked == []
        for _ in range(2):
            next(events(opened(server)))
            assert len(looked) == 1


def test_serve_says_its_address_and_ends_with_an_interrupt(
    watch: StillWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    said: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    settings = WebSettings(listen="0.0.0.0:0", token_file=token)
    monkeypatch.setattr("pfedfrz_monitor.web.server._forever", interrupted)
    serve(watch, settings, {}, say=said.append)
    assert said[0].startswith("the page is at http://127.0.0.1:")
    assert said[0].endswith(f"/#token={TOKEN}")
    assert "nothing on its way is encrypted" in said[1]
