"""Who may ask: hosts, origins, the token; how long a request may be; the headers of every answer.

One layer around the whole application, WebSockets included. It also notes when a client no longer waits for its answer
(`gesso.editor.rendering.GONE`), so that photographs nobody waits for are not computed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import threading
from collections.abc import Mapping
from urllib.parse import parse_qs

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gesso.editor.rendering import GONE, Closing
from gesso.editor.security import Limits
from gesso.serving import known_host

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOKEN_HEADER = "X-Gesso-Token"
POLITE = 4  # times the bytes of a request that are read on, and thrown away, so that a browser hears why it is refused
FOREIGN = 1008  # WebSocket: policy violation
FAILED = 1011  # WebSocket: the server met what it did not expect
UNEXPECTED = "Something went wrong here; what it was is in the terminal in which gesso edit runs."

_log = logging.getLogger(__name__)


class Guard:
    """Refuses what must not reach the application.

    Args:
        app: The application.
        limits: What is taken.
        names: Host names, beside localhost and plain addresses, under which the page may be reached.
        token: What clients must know, as `?token=` of the page's address, then in a cookie, or in a header; None: all may ask.
    """

    def __init__(self, app: ASGIApp, limits: Limits, names: tuple[str, ...] = (), token: str | None = None) -> None:
        self._app, self._limits, self._names, self._token = app, limits, names, token
        self._cookie = (
            "gesso-" + hashlib.sha256((token or "").encode()).hexdigest()[:12]
        )  # servers at other ports have others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fault(HTTPConnection(scope)):
            await send({"type": "websocket.close", "code": FOREIGN, "reason": ""})
        else:
            try:
                await self._app(scope, receive, send)
            except asyncio.CancelledError:  # the server ends, and has closed the connection
                return
            except Exception:
                _log.exception("The connection to %s failed.", scope["path"])
                await send({"type": "websocket.close", "code": FAILED, "reason": ""})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        body = _Body(receive, self._limits.bytes)
        fault = self._fault(connection) or body.fault(connection.headers)
        headers = dict(HEADERS)
        if self._token and not fault and _shown(connection) is not None:
            headers["Set-Cookie"] = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        forgotten = GONE.set(body.gone)
        try:
            if fault:
                await body.drain()
                await JSONResponse({"detail": fault[1]}, fault[0])(scope, receive, _with(headers, send))
            else:
                await self._handed_on(scope, body.receive, _with(headers, send))
        finally:
            GONE.reset(forgotten)
            body.close()

    async def _handed_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; what it did not expect is logged, and said in one sentence.

        A request that is cancelled took longer than the server waits once it ends.
        """
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not started:
                await JSONResponse({"detail": str(Closing())}, 503)(scope, receive, send)
        except Exception:
            _log.exception("%s %s failed.", scope["method"], scope["path"])
            if started:
                raise
            await JSONResponse({"detail": UNEXPECTED}, 500)(scope, receive, send)

    def _fault(self, connection: HTTPConnection) -> tuple[int, str] | None:
        """Status and sentence where something is wrong with who asks."""
        asked = connection.headers
        host = asked.get("host", "")
        if not known_host(host, self._names):
            return 421, "This server is not called so; whoever runs the editor can add the name with --name."
        if asked.get("origin", f"http://{host}") not in (f"http://{host}", f"https://{host}"):
            return 403, "Other pages may not use the editor."
        page = asked.get("sec-fetch-mode") == "navigate" and connection.url.path == "/"
        if asked.get("sec-fetch-site", "none") not in ("none", "same-origin") and not page:
            return 403, "Other pages may not use the editor."
        if self._token and not self._admits(connection):
            return (
                401,
                "This needs the token in the address that gesso edit printed when it started: open that address.",
            )
        return None

    def _admits(self, connection: HTTPConnection) -> bool:
        given = (_shown(connection), connection.cookies.get(self._cookie), connection.headers.get(TOKEN_HEADER))
        return any(hmac.compare_digest(one.encode(), (self._token or "").encode()) for one in given if one)


def _shown(connection: HTTPConnection) -> str | None:
    """The token in the address of the page itself."""
    query = str(connection.scope.get("query_string", b""), "latin-1")
    return parse_qs(query).get("token", [None])[0] if connection.url.path == "/" else None


def _with(headers: Mapping[str, str], send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return sending


class _Body:
    """What a client sends: counted while it comes, whatever its header says; and whether it is still there afterwards.

    Attributes:
        gone: Set when the client hangs up after the whole body came.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._came = 0
        self._over = False
        self._watch: asyncio.Task[None] | None = None
        self.gone = threading.Event()

    def fault(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Status and sentence where the client says itself that too much will come."""
        length = headers.get("content-length", "0")
        return (413, self._sentence()) if not length.isdigit() or int(length) > self._most else None

    def _sentence(self) -> str:
        return f"That is too much: a request may have {self._most / 2**20:.4g} MiB."

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            HTTPException: 413, more came than is taken.
        """
        if self._watch is not None:
            await asyncio.wait([self._watch])
            return {"type": "http.disconnect"}
        message = await self._next()
        if self._came > self._most:
            await self.drain()
            raise HTTPException(413, self._sentence())
        if self._over:
            self._watch = asyncio.create_task(self._watching())
        return message

    async def drain(self) -> None:
        """Throw away what still comes, within reason: a browser that is cut off while it sends does not read the refusal."""
        while not self._over and self._came <= POLITE * self._most:
            await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._came += len(message.get("body", b""))
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _watching(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone.set()

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
