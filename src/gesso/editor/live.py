"""Photographs while people paint, over a WebSocket: the newest layout of each connection, connections in turn.

A frame is the length of a header (uint32, little-endian), the header in JSON, and bytes. Clients send `LiveRequest`, a label map
and an instance map, both PNG; they get the picture as PNG, or a header that says that a request was dropped, or what is wrong.

Each connection has one place in the queue for the model, and one request that waits there. A newer request takes the older one's
place before anything of it was decoded; which request is rendered is decided when the turn comes. What is being rendered is given
up for a smaller preview, as somebody paints on, and a preview for the end of its stroke, unless that shows the same.

Of a whole photograph that takes long the client may first get a nearly right one, whose header says how far it is off.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import anyio
from anyio import from_thread
from anyio.to_thread import run_sync
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from gesso.editor.rendering import GONE, Abandoned, Priority, Rendered, Renderer, encode_quickly
from gesso.editor.security import read_instances, read_label
from gesso.errors import GessoError
from gesso.synthesis.inputs import LARGEST_SEED
from gesso.synthesis.style import Style

MOST_CONNECTIONS = 32
MOST_HEADER = 2**22  # bytes; a vector of 16 numbers takes some 200
LONGEST = 1000  # letters of a sentence about an error: it may repeat what was sent
TOO_MANY = 1013  # WebSocket: try again later
UNEXPECTED = "The photograph could not be computed; what went wrong is in the terminal in which gesso edit runs."

_log = logging.getLogger(__name__)

Length = Annotated[StrictInt, Field(ge=0)]


class LiveRequest(BaseModel):
    """The header of a request.

    Attributes:
        request: The client's number for it.
        seed: Of what the style leaves open.
        style: A `gesso.synthesis.style.Style`, or None.
        scale: 1, or 0.5, 0.25 or 0.125 for a smaller picture.
        preview: Whether more of the same stroke follows: nobody misses it once a request came that is none.
        bytes: Of the label map and of the instance map, which follow the header; the latter may be 0: none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: StrictInt = Field(ge=0, lt=2**53)
    seed: StrictInt = Field(0, ge=0, le=LARGEST_SEED)
    style: dict[str, Any] | None = None
    scale: float = Field(1, allow_inf_nan=False)
    preview: bool = False
    bytes: tuple[Length, Length]


@dataclass(frozen=True)
class Asked:
    """A request with its maps as they came, PNG, and when, in seconds of `time.perf_counter`."""

    header: LiveRequest
    label: bytes
    instance: bytes
    arrived: float = 0.0

    def shows_what(self, other: Asked) -> bool:
        """Whether both ask for the same picture."""
        mine, its = ((a.label, a.instance, a.header.style, a.header.seed, a.header.scale) for a in (self, other))
        return mine == its


class Refused(Exception):
    """A frame that is no request; `number` is the client's, where that much could be read."""

    def __init__(self, sentence: str, number: int | None = None) -> None:
        super().__init__(sentence)
        self.number = number


def pack(header: Mapping[str, Any], content: bytes = b"") -> bytes:
    """A frame."""
    head = json.dumps(header).encode()
    return struct.pack("<I", len(head)) + head + content


def unpack(frame: bytes) -> tuple[bytes, bytes]:
    """Header and content of a frame.

    Raises:
        Refused: It is shorter than it says, or its header is too long.
    """
    length = struct.unpack("<I", frame[:4])[0] if len(frame) >= 4 else len(frame)
    if not length <= min(len(frame) - 4, MOST_HEADER):
        raise Refused(
            "The message is no frame: send the length of a JSON header (uint32, little-endian), the header, then two PNG."
        )
    return frame[4 : 4 + length], frame[4 + length :]


def parse(frame: bytes, most: int) -> Asked:
    """A request; nothing of it is decoded but the header.

    Args:
        frame: As it came.
        most: Bytes that it may have.

    Raises:
        Refused: It is none.
    """
    head, content = unpack(frame)
    try:
        header = LiveRequest.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "header"
        raise Refused(f"The header of the message is not understood: {place}: {first['msg']}.", _number(head)) from None
    if len(frame) > most:
        raise Refused(f"That is too much: a message may have {most / 2**20:.4g} MiB.", header.request)
    label, instance = header.bytes
    if label + instance != len(content):
        said = f"The header speaks of {label} + {instance} bytes, {len(content)} came after it."
        raise Refused(said, header.request)
    return Asked(header, content[:label], content[label:], time.perf_counter())


def _number(head: bytes) -> int | None:
    """The client's number of a request that is otherwise wrong."""
    try:
        return _Numbered.model_validate_json(head).request
    except ValidationError:
        return None


class _Numbered(BaseModel):
    request: StrictInt = Field(ge=0, lt=2**53)


class Slot:
    """The one request of a connection that waits; a newer one takes its place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Asked | None = None
        self.filled = anyio.Event()

    def put(self, asked: Asked | None) -> Asked | None:
        """Let a request wait (None: nothing any more); returns the one that it overtook. From the event loop alone."""
        with self._lock:
            overtaken, self._waiting = self._waiting, asked
        self.filled.set()
        return overtaken

    def take(self) -> Asked | None:
        """The request that waits, which then no longer does."""
        with self._lock:
            taken, self._waiting = self._waiting, None
        return taken


class Connection:
    """One client.

    Args:
        socket: Accepted.
        renderer: The model.
        threads: How many connections may wait for it at once.
    """

    def __init__(self, socket: WebSocket, renderer: Renderer, threads: anyio.CapacityLimiter) -> None:
        self._socket, self._renderer, self._threads = socket, renderer, threads
        self._slot = Slot()
        self._tasks: anyio.abc.TaskGroup  # while it is served
        self._sending = anyio.Lock()
        self._rendering: tuple[Asked, threading.Event] | None = None  # and what gives it up
        self._last: tuple[Asked, Rendered] | None = (
            None  # the preview that was rendered last, if nothing whole was since
        )
        self._left = False

    async def serve(self) -> None:
        """Answer until the client leaves."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._work)
            await self._listen()
            self._slot.put(None)  # whoever waits for the turn finds nothing to do
            self._left = True
            if rendering := self._rendering:
                rendering[1].set()
            tasks.cancel_scope.cancel()

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                asked = parse(message.get("bytes") or b"", self._renderer.limits.bytes)
            except Refused as error:
                await self._send(_refusal(error.number, str(error)))
                continue
            if overtaken := self._slot.put(asked):
                await self._send(*_dropped(overtaken))
            self._give_up_for(asked)

    def _give_up_for(self, asked: Asked) -> None:
        if (rendering := self._rendering) is None:  # read once: another thread writes it
            return
        under_way, unwanted = rendering
        if asked.header.preview:
            given_up = asked.header.scale < under_way.header.scale
        else:
            given_up = under_way.header.preview and not under_way.shows_what(asked)
        if given_up:
            unwanted.set()

    async def _work(self) -> None:
        while True:
            await self._slot.filled.wait()
            self._slot.filled = anyio.Event()
            answer = await run_sync(self._render_newest, limiter=self._threads)
            if answer is not None:
                await self._send(*answer)

    async def _send(self, header: Mapping[str, Any], content: bytes = b"") -> None:
        """One whole message; a client that has left is noticed where it is listened to."""
        async with self._sending:
            try:
                await self._socket.send_bytes(pack(header, content))
            except (WebSocketDisconnect, RuntimeError):
                return

    def _render_newest(self) -> tuple[dict[str, Any], bytes] | None:
        """Wait for the turn, then render what waits by then; in a thread."""
        asked = None
        try:
            with self._renderer.turn(Priority.LIVE):
                if (asked := self._slot.take()) is None:
                    return None
                rendered = self._render(asked)
            return _answer(asked.header, rendered)
        except Abandoned:
            return None if asked is None else _dropped(asked)
        except GessoError as error:
            said = str(error)
        except Exception:  # a fault of ours, or no memory: the connection lives on
            _log.exception("A live photograph could not be computed.")
            said = UNEXPECTED
        return _refusal(asked.header.request if asked else None, said), b""

    def _render(self, asked: Asked) -> Rendered:
        """The photograph of a request, by one who has the turn."""
        if self._last and self._last[0].shows_what(asked):  # the end of a stroke whose last preview was a whole one
            wait = 1000 * (time.perf_counter() - asked.arrived)
            return replace(self._last[1], milliseconds={"wait": wait, "decode": 0.0, "model": 0.0})
        unwanted = threading.Event()
        self._rendering = asked, unwanted
        if self._left:
            unwanted.set()
        GONE.set(unwanted)  # in a context of this call alone
        try:
            rendered = self._computed(asked)
        finally:
            self._rendering = None
        self._last = (asked, rendered) if asked.header.preview else None
        return rendered

    def _computed(self, asked: Asked) -> Rendered:
        start, renderer, header = time.perf_counter(), self._renderer, asked.header
        label = read_label(asked.label, renderer.limits)
        instance = read_instances(asked.instance, renderer.limits) if asked.instance else None
        style = None if header.style is None else Style.parse(header.style)
        before = {"wait": 1000 * (start - asked.arrived), "decode": 1000 * (time.perf_counter() - start)}
        if header.scale == 1 and (soon := renderer.nearly(self, label, instance, style, header.seed)):
            soon = replace(soon, milliseconds={**before, **soon.milliseconds})
            # not waited for: who has the model must not depend on a client, which may leave while it is sent something
            from_thread.run_sync(self._tasks.start_soon, self._send, *_answer(header, soon))
        rendered = renderer.now(label, instance, style, header.seed, header.scale, painter=self)
        return replace(rendered, milliseconds={**before, **rendered.milliseconds})


def _dropped(asked: Asked) -> tuple[dict[str, Any], bytes]:
    return {"request": asked.header.request, "dropped": True}, b""


def _refusal(number: int | None, said: str) -> dict[str, Any]:
    return {"request": number, "error": said[:LONGEST]}


def _answer(header: LiveRequest, rendered: Rendered) -> tuple[dict[str, Any], bytes]:
    start = time.perf_counter()
    content = encode_quickly(rendered.picture)
    took = {**rendered.milliseconds, "encode": 1000 * (time.perf_counter() - start)}
    height, width, _ = rendered.picture.shape
    said: dict[str, Any] = {"request": header.request, "width": width, "height": height, "scale": header.scale}
    if rendered.off is not None:
        said["off"] = round(rendered.off, 2)
    return {**said, "milliseconds": {name: round(value, 2) for name, value in took.items()}}, content


def router(renderer: Renderer) -> APIRouter:
    """The address of live photographs."""
    routes = APIRouter()
    threads = anyio.CapacityLimiter(MOST_CONNECTIONS)
    connected: set[WebSocket] = set()

    @routes.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if len(connected) >= MOST_CONNECTIONS:
            await socket.close(TOO_MANY, f"{MOST_CONNECTIONS} pages are open already: close one.")
            return
        connected.add(socket)
        try:
            await Connection(socket, renderer, threads).serve()
        finally:
            connected.discard(socket)

    return routes
