"""Does the editor stand it when many people paint at once? Clients that ask for photographs faster than they can be made.

    python benchmarks/editor_load.py MODEL [--clients 8] [--seconds 60] [--size 128x256] [--json FILE]

`gesso edit` runs as a process of its own. Half of the clients paint: over a WebSocket each they send a layout with every stroke,
fifty in a second, without waiting for photographs: previews of all sizes, and when a stroke ends the whole, which at the end of
every other stroke is what the last preview showed. The others ask for one photograph after the other, as scripts do. Else no two
requests of a client that follow each other have the same layout or seed.

What must hold, else the exit status is 1: nothing fails; every request over a WebSocket is answered once, by its photograph or as
dropped; a client's photographs come in the order of its requests, and the last request's photograph comes; that one, and some on
the way, are in every pixel what POST /api/render answers to the same request afterwards; and the server's memory does not grow.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import numpy.typing as npt
from cyclopts import App, Parameter
from editor_process import MEBI, WARM, Memory, Wrong, served
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from gesso.cli.common import parse_size

STROKES = 50  # requests of a painting client in a second
STROKE = 20  # of these until a stroke ends
SCALES = (1, 0.5, 0.25)  # of previews, one after the other
LAYOUTS = 32  # that the clients go through, each beginning elsewhere
KEPT = 10  # photographs of each client on the way that are compared afterwards, beside the last one
# Bytes that the server may occupy more at the end: 17 MiB after 30 s as after 100 s; 3000 photographs would be 290 MB.
GROWTH = 32 * 2**20
PATIENCE = 60.0  # seconds that one answer may take
ASKED = 0.25  # seconds between two looks at the memory
Maps = tuple[bytes, bytes]
app = App(help=__doc__)


@dataclass
class Client:
    """What one client saw.

    Attributes:
        number: Of the client.
        sent: When each of its requests was sent, by the request's number.
        seconds: From request to photograph.
        model: Milliseconds that the server says the model took.
        dropped: Requests that were overtaken.
        shown: The newest request whose photograph came.
        last: Its photograph.
        kept: Some photographs on the way, by request.
        final: The last request over a WebSocket, once it is known.
    """

    number: int
    sent: dict[int, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    shown: int = -1
    last: bytes = b""
    kept: dict[int, bytes] = field(default_factory=dict)
    final: int | None = None

    @property
    def name(self) -> str:
        return f"client {self.number}"

    def seed(self, request: int) -> int:
        return 1_000_000 * self.number + request

    @property
    def paints(self) -> bool:
        return self.number % 2 == 0

    def is_preview(self, request: int) -> bool:
        """Whether more of the same stroke follows."""
        return self.paints and request != self.final and request % STROKE < STROKE - 1

    def repeats(self, request: int) -> bool:
        """Whether the end of a stroke is what its last preview showed."""
        return self.paints and request != self.final and request % (2 * STROKE) == STROKE - 1

    def scale(self, request: int) -> float:
        """Of the photograph; the last preview of a stroke is whole, too."""
        return SCALES[request % 3] if self.is_preview(request) and request % STROKE < STROKE - 2 else 1

    def asks_for(self, request: int, layouts: list[Maps]) -> tuple[Maps, int, float]:
        """Label and instance map, seed and scale of a request."""
        subject = request - 1 if self.repeats(request) else request
        return layouts[(self.number + subject) % LAYOUTS], self.seed(subject), self.scale(request)

    def take(self, request: int, content: bytes, milliseconds: dict[str, float]) -> None:
        """A photograph came.

        Raises:
            Wrong: Nobody asked for it, or a newer one is shown already.
        """
        if request not in self.sent or request in self.dropped:
            raise Wrong(f"{self.name} got a photograph of request {request}, which it does not wait for.")
        if request <= self.shown:
            raise Wrong(f"{self.name} got the photograph of request {request} after that of {self.shown}: a stale one.")
        self.shown, self.last = request, content
        self.seconds.append(time.perf_counter() - self.sent[request])
        self.model.append(milliseconds["model"])
        place = random.Random(self.seed(request)).randrange(len(self.seconds))  # each has the same chance to stay
        if len(self.kept) < KEPT:
            self.kept[request] = content
        elif place < KEPT:
            self.kept.pop(list(self.kept)[place])
            self.kept[request] = content

    def overtaken(self, request: int) -> None:
        """A request was answered as dropped.

        Raises:
            Wrong: It was answered already, or never sent.
        """
        if request not in self.sent or request in self.dropped or request == self.shown:
            raise Wrong(f"{self.name} was told that request {request} was dropped, which it does not wait for.")
        self.dropped.add(request)


@app.default
def main(
    model: Path,
    *,
    clients: int = 8,
    seconds: float = 60,
    size: str = "128x256",
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure.

    Args:
        model: A model file.
        clients: How many at once, every other one over a WebSocket.
        seconds: How long they ask, once the server is warm.
        size: HEIGHTxWIDTH of the layouts.
        json_file: Where the figures go as well.
    """
    console = Console()
    try:
        if clients < 1 or seconds < 2 * WARM:
            raise Wrong(f"Give at least one client, and {2 * WARM:g} seconds, so that memory can be compared.")
        found = measure(model, clients, seconds, parse_size(size), console)
    except Wrong as fault:
        console.print(f"[red]{fault}", soft_wrap=True, highlight=False)
        sys.exit(1)
    show(found, console)
    if json_file:
        json_file.write_text(json.dumps(found, indent=1))
    if found["memory"]["growth"] > GROWTH:
        grown = f"{found['memory']['growth'] / MEBI:.1f} MiB"
        console.print(
            f"[red]The server's memory grew by {grown}; up to {GROWTH / MEBI:g} may be chance.", highlight=False
        )
        sys.exit(1)


def measure(model: Path, clients: int, seconds: float, size: tuple[int, int], console: Console) -> dict[str, Any]:
    """The figures, once everything held but the memory, which whoever reads them judges."""
    with served(model) as (address, process, errors):
        memory = Memory(seconds)
        found, took = asyncio.run(crowd(address, process.pid, clients, memory, size, console))
        if process.poll() is not None:
            raise Wrong(f"gesso edit ended by itself, with exit status {process.returncode}.")
        if "Traceback" in (said := errors.read_text()):
            raise Wrong(f"gesso edit wrote into its terminal that something went wrong: {said.splitlines()[-1]}")
    groups = {kind: [one for one in found if one.paints == (kind == "painting")] for kind in ("painting", "asking")}
    return {
        "clients": clients,
        "seconds": took,
        "size": "x".join(map(str, size)),
        **{kind: figures(group, took) for kind, group in groups.items() if group},
        "memory": memory.figures(),
    }


def figures(group: list[Client], seconds: float) -> dict[str, Any]:
    """Of the clients of one kind; latencies in milliseconds."""
    latencies = 1000 * np.array([one for client in group for one in client.seconds])
    model = [one for client in group for one in client.model]
    return {
        "clients": len(group),
        "requests": sum(len(client.sent) for client in group),
        "photographs": len(latencies),
        "dropped": sum(len(client.dropped) for client in group),
        "renders_per_second": len(latencies) / seconds,
        "fewest_of_a_client": min(len(client.seconds) for client in group),
        "most_of_a_client": max(len(client.seconds) for client in group),
        "p50": float(np.percentile(latencies, 50)),
        "p95": float(np.percentile(latencies, 95)),
        "model_p50": float(np.median(model)),
        "compared": sum(len(client.kept | {client.shown: b""}) for client in group),
    }


def show(found: dict[str, Any], console: Console) -> None:
    """The figures as tables."""
    rows = {
        "requests": "requests",
        "photographs": "photographs",
        "dropped, as a newer one came": "dropped",
        "photographs per second": "renders_per_second",
        "of the client with the fewest": "fewest_of_a_client",
        "of the client with the most": "most_of_a_client",
        "request to photograph, p50 ms": "p50",
        "request to photograph, p95 ms": "p95",
        "of which the model, p50 ms": "model_p50",
        "compared with POST /api/render": "compared",
    }
    kinds = [kind for kind in ("painting", "asking") if kind in found]
    table = Table(
        "", *(f"{found[kind]['clients']} {kind}" for kind in kinds), title=f"{found['seconds']:.0f} s, {found['size']}"
    )
    for title, key in rows.items():
        values = [found[kind][key] for kind in kinds]
        table.add_row(title, *(f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in values))
    console.print(table)
    memory = {key: f"{found['memory'][key] / MEBI:.1f}" for key in ("warm", "end", "growth", "peak")}
    console.print(
        f"The server occupied {memory['warm']} MiB after {found['memory']['warm_after']:.0f} s, {memory['end']} MiB at the end: "
        f"{memory['growth']} MiB more; at most {memory['peak']} MiB.",
        highlight=False,
    )


# --------------------------------------------------------------------------------------------------------- the clients


async def crowd(
    address: str, process: int, clients: int, memory: Memory, size: tuple[int, int], console: Console
) -> tuple[list[Client], float]:
    """What everybody saw, and for how many seconds.

    Raises:
        Wrong: Something did not hold.
    """
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as http:
        classes = (await http.get("/api/model")).json()["classes"]
        layouts = [layout(classes, size, number) for number in range(LAYOUTS)]
        everybody = [Client(number) for number in range(clients)]
        with Progress(console=console, transient=True) as bar:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(watch(process, memory, bar, everybody))
                    for client in everybody:
                        if client.paints:
                            tasks.create_task(paint(client, address, layouts, memory))
                        else:
                            tasks.create_task(ask(client, http, layouts, memory))
            except* Wrong as faults:
                raise Wrong(str(faults.exceptions[0])) from None
            took = time.perf_counter() - memory.began
            task = bar.add_task("comparing", total=len(everybody))
            for client in everybody:
                await compare(client, http, layouts)
                bar.advance(task)
    return everybody, took


async def watch(process: int, memory: Memory, bar: Progress, everybody: list[Client]) -> None:
    """Note the server's memory, and so decide when the time is over."""
    task = bar.add_task("", total=memory.seconds)
    while not memory.over:
        memory.look(process, min(len(client.seconds) for client in everybody))
        count = sum(len(client.seconds) for client in everybody)
        bar.update(task, completed=max(0, time.perf_counter() - memory.warm), description=f"{count} photographs")
        await asyncio.sleep(ASKED)


async def paint(client: Client, address: str, layouts: list[Maps], memory: Memory) -> None:
    """Send layouts without waiting; what comes is noted beside it."""
    async with socket_of(client, address) as socket:
        sending = asyncio.create_task(strokes(client, socket, layouts, memory))
        try:
            while client.final is None or client.shown < client.final:
                await hear(client, socket)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)  # what broke the connection was heard already
    silent = len(client.sent) - len(client.dropped) - len(client.seconds)
    if silent:
        raise Wrong(f"{client.name} got no answer at all to {silent} of its {len(client.sent)} requests.")


async def strokes(client: Client, socket: ClientConnection, layouts: list[Maps], memory: Memory) -> None:
    request = 0
    while not memory.over:
        await send(client, socket, layouts, request)
        request += 1
        await asyncio.sleep(1 / STROKES)
    client.final = request
    await send(client, socket, layouts, request)


@asynccontextmanager
async def socket_of(client: Client, address: str) -> AsyncIterator[ClientConnection]:
    """A WebSocket.

    Raises:
        Wrong: It was refused, or it closed.
    """
    try:
        async with connect(f"ws{address.removeprefix('http')}/api/live", max_size=None, proxy=None) as socket:
            yield socket
    except (ConnectionClosed, InvalidHandshake, OSError) as error:
        raise Wrong(f"The connection of {client.name} failed ({error}).") from None
    except TimeoutError:
        raise Wrong(f"{client.name} waited {PATIENCE:g} s for an answer, and none came.") from None


async def hear(client: Client, socket: ClientConnection) -> None:
    """Take one answer.

    Raises:
        Wrong: It is an error, or not what may come.
    """
    async with asyncio.timeout(PATIENCE):
        frame = await socket.recv()
    if not isinstance(frame, bytes):
        raise Wrong(f"{client.name} got text where frames are bytes.")
    length = struct.unpack("<I", frame[:4])[0]
    header = json.loads(frame[4 : 4 + length])
    if "error" in header:
        raise Wrong(f"{client.name} was refused request {header['request']}: {header['error']}")
    if header.get("dropped"):
        client.overtaken(header["request"])
    else:
        client.take(header["request"], frame[4 + length :], header["milliseconds"])


async def send(client: Client, socket: ClientConnection, layouts: list[Maps], request: int) -> None:
    maps, seed, scale = client.asks_for(request, layouts)
    header = {
        "request": request,
        "seed": seed,
        "scale": scale,
        "preview": client.is_preview(request),
        "bytes": [len(one) for one in maps],
    }
    head = json.dumps(header).encode()
    client.sent[request] = time.perf_counter()
    await socket.send(struct.pack("<I", len(head)) + head + b"".join(maps))


async def ask(client: Client, http: httpx.AsyncClient, layouts: list[Maps], memory: Memory) -> None:
    """Ask for one photograph after the other."""
    request = 0
    while not memory.over:
        client.sent[request] = time.perf_counter()
        answer = await rendered(client, http, layouts, request)
        client.take(request, answer.content, json.loads(answer.headers["X-Gesso-Milliseconds"]))
        request += 1


async def rendered(client: Client, http: httpx.AsyncClient, layouts: list[Maps], request: int) -> httpx.Response:
    """What POST /api/render answers to a request of a client.

    Raises:
        Wrong: No photograph.
    """
    (label, instance), seed, scale = client.asks_for(request, layouts)
    files = {"label": ("label.png", label), "instance": ("instance.png", instance)}
    try:
        answer = await http.post("/api/render", files=files, data={"seed": f"{seed}", "scale": f"{scale:g}"})
    except httpx.HTTPError as error:
        raise Wrong(f"{client.name} asked for a photograph, and the connection failed ({error!r}).") from None
    if answer.status_code != 200:
        raise Wrong(f"{client.name} asked for a photograph and got status {answer.status_code}: {answer.text[:300]}")
    return answer


async def compare(client: Client, http: httpx.AsyncClient, layouts: list[Maps]) -> None:
    """See that photographs are of the requests that they were said to be of.

    Raises:
        Wrong: One is not; or it could not be told, as the request before has the same photograph.
    """
    for request, content in {**client.kept, client.shown: client.last}.items():
        own = pixels((await rendered(client, http, layouts, request)).content)
        if not np.array_equal(pixels(content), own):
            raise Wrong(f"The photograph that {client.name} got for request {request} is not that of the request.")
    before = pixels((await rendered(client, http, layouts, client.shown - 1)).content)
    if np.array_equal(before, own):
        raise Wrong("Two layouts that follow each other have the same photograph, so stale ones cannot be told.")


def pixels(content: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


# --------------------------------------------------------------------------------------------------------- the layouts


def layout(classes: list[dict[str, Any]], size: tuple[int, int], number: int) -> Maps:
    """Label and instance map as PNG: bands of what cannot be counted, rectangles of what can."""
    chance, (height, width) = np.random.default_rng(number), size
    things = [one["index"] for one in classes if one["thing"]]
    stuff = [one["index"] for one in classes if not one["thing"]] or things
    bands = chance.choice(stuff, 4)
    label = np.repeat(bands, -(-height // 4))[:height, None].repeat(width, axis=1)
    instance = label.copy()
    for k in range(1, 7):
        index = chance.choice(things or stuff)
        top, left = int(chance.integers(height * 3 // 4)), int(chance.integers(width * 3 // 4))
        there = np.s_[top : top + height // 4, left : left + width // 6]
        label[there], instance[there] = index, 1000 * index + k
    return png(label.astype(np.uint16)), png(instance.astype("<i4").view(np.uint8).reshape(height, width, 4))


def png(array: npt.NDArray[Any]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


if __name__ == "__main__":
    app()
