"""What the server answers: the page, its assets, the stream of events, and actions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pfedfrz_monitor.watch import Watch
from pfedfrz_protocol import ConfigurationError, OperatorAction

from .access import Access
from .hub import Hub, TooManyPages

__all__ = ["ASSETS", "SECURITY_HEADERS", "make_application"]

ASSETS = Path(__file__).parent / "assets"
_MOST_BODY = 4096
_MOST_ACTIONS = 8
_ANSWER_WITHIN_S = 15.0

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class _Guard:
    """In front of everything: known hosts alone, and the same headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
                ]
                if b"cache-control" not in said:
                    message["headers"].append((b"cache-control", b"no-cache"))
            await send(message)

        request = Request(scope)
        if not self._access.is_known_host(request.headers.get("host", "")):
            refusal = PlainTextResponse(
                "This name is not one of the page's own: it goes into hosts of [web] in "
                "monitor.toml.\n",
                421,
            )
            await refusal(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


class _Events:
    """`/events`: everything once, then what changes."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub = hub
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        refused = self._refusal(request)
        if refused is not None:
            await refused(scope, receive, send)
            return
        try:
            async with self._hub.page() as page:
                await send(
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [
                            (b"content-type", b"text/event-stream; charset=utf-8"),
                            (b"cache-control", b"no-store"),
                            (b"x-accel-buffering", b"no"),
                        ],
                    }
                )

                async def pump() -> None:
                    async for event in page.events():
                        await send({"type": "http.response.body", "body": event, "more_body": True})

                async def until_left() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass

                # A page that reads nothing holds `pump` in its send: whoever ends first ends all.
                tasks = [
                    asyncio.ensure_future(part) for part in (pump(), until_left(), page.gone.wait())
                ]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TooManyPages:
            busy = PlainTextResponse(
                "As many pages are open as may be: close one.\n", 503, {"retry-after": "5"}
            )
            await busy(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if request.method != "GET":
            return PlainTextResponse("Only GET.\n", 405, {"allow": "GET"})
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("Not for other sites.\n", 403)
        if self._access.reading_needs_token and not self._access.knows(
            request.headers.get("authorization")
        ):
            return PlainTextResponse("The token is needed.\n", 401)
        return None


def make_application(watch: Watch, hub: Hub, access: Access) -> Starlette:
    """The whole application; its lifespan runs the hub."""
    under_way = asyncio.Semaphore(_MOST_ACTIONS)

    async def page(request: Request) -> Response:
        return FileResponse(ASSETS / "index.html", media_type="text/html; charset=utf-8")

    async def act(request: Request) -> Response:
        if not watch.may_act:
            return _answer(False, "this page only watches: it has no operator's key", 403)
        if not access.is_own_origin(request.headers.get("origin"), request.headers.get("host", "")):
            return _answer(False, "only the page itself may act", 403)
        if not access.knows(request.headers.get("authorization")):
            return _answer(False, "the token is needed, or it is another run's", 401)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _answer(False, "an action is application/json", 415)
        try:
            body = await _bounded(request)
            action: OperatorAction = msgspec.json.decode(body, type=OperatorAction)
        except (msgspec.MsgspecError, ValueError) as error:
            return _answer(False, f"no action: {error}", 400)
        if under_way.locked():
            return _answer(False, "too many actions at once", 429)
        async with under_way:
            try:
                asked = await asyncio.to_thread(watch.ask, action)
                answer = await asyncio.wait_for(asyncio.wrap_future(asked), _ANSWER_WITHIN_S)
            except ConfigurationError as error:
                return _answer(False, str(error), 403)
            except asyncio.TimeoutError:
                return _answer(False, "no answer from the coordinator", 504)
        return _answer(answer.done, answer.detail)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(hub.run())
        try:
            yield
        finally:
            hub.close()
            await task

    return Starlette(
        routes=[
            Route("/", page),
            Route("/events", _Events(hub, access)),
            Route("/act", act, methods=["POST"]),
            Mount("/assets", StaticFiles(directory=ASSETS)),
        ],
        middleware=[Middleware(_Guard, access=access)],
        exception_handlers={HTTPException: _plain_refusal},
        lifespan=lifespan,
    )


def _answer(done: bool, detail: str, status: int = 200) -> Response:
    return JSONResponse({"done": done, "detail": detail}, status)


async def _bounded(request: Request) -> bytes:
    """The body; ValueError for one that is longer than any action."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BODY:
                raise ValueError(f"longer than {_MOST_BODY} bytes")
    except ClientDisconnect as error:
        raise ValueError("it broke off") from error
    return bytes(body)


async def _plain_refusal(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return PlainTextResponse(f"{status}\n", status)
