"""What tests of studies share: folders of coloured noise, a server, and participants who know what they like.

A method is a colour: its pictures are noise around it, so that a participant in a test can see what nobody is told. A spoilt
picture has no colour, as half of it is negative.
"""

from __future__ import annotations

import io
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from gesso.serving import http_server, listen
from gesso.study.prepare import prepare
from gesso.study.server import create_app
from gesso.study.settings import Settings

COLOURS = {"amber": (210, 90, 70), "cobalt": (70, 90, 210), "real": (80, 205, 90)}
SIZE = (32, 64)
Choose = Callable[[str, str], str]  # what is left and right ("amber", "cobalt", "real" or "spoilt") -> the side chosen


def paint(folder: Path, colour: str, count: int, size: tuple[int, int] = SIZE, ending: str = "png") -> Path:
    """Fill a folder with pictures of one colour."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(map(ord, colour)))
    for number in range(count):
        noise = random.integers(-40, 41, size=(*size, 3))
        pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"scene{number:03}.{ending}")
    return folder


def make_study(root: Path, count: int = 24, real: bool = False, **settings: Any) -> Path:
    """A study of amber and cobalt pictures, and of real ones where they are asked for or needed."""
    real = real or settings.get("protocol") == "real-or-fake"
    if settings.get("protocol") == "real-or-fake":
        settings = {"size": SIZE, **settings}
    folders = {name: paint(root / name, name, count) for name in COLOURS if real or name != "real"}
    prepare(root / "study", folders, folders.pop("real", None), Settings(**settings))
    return root / "study"


def seen(picture: np.ndarray) -> str:
    """Which method made an (H, W, 3) picture, or "spoilt"."""
    means = picture.reshape(-1, 3).mean(0)
    order = np.argsort(means)
    channel = int(order[-1]) if means[order[-1]] - means[order[-2]] > 60 else 3
    return ("amber", "real", "cobalt", "spoilt")[channel]


@contextmanager
def served(study: Path, **options: Any) -> Iterator[str]:
    """The address of a study that is served by this process."""
    server = http_server(create_app(study, **options))
    listening = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def served_apart(study: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and process of `gesso study serve`."""
    command = [sys.executable, "-m", "gesso", "study", "serve", str(study), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"(http://\S+)/ ", process.stdout.readline())
            assert found, "gesso study serve tells its address in its first line"
            yield found.group(1), process
        finally:
            process.kill()


class Person:
    """A participant who speaks HTTP."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=address, headers={"Origin": address}, timeout=30)
        self.token, self.tab = "", ""

    def __enter__(self) -> Person:
        self.token = self.post("/api/participants").json()["token"]
        self.open_tab()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Participant": self.token, "X-Tab": self.tab}

    def get(self, path: str, **changes: str) -> httpx.Response:
        return self.client.get(path, headers={**self.headers, **changes})

    def post(self, path: str, body: Mapping[str, Any] | None = None, **changes: str) -> httpx.Response:
        return self.client.post(path, json=body, headers={**self.headers, **changes})

    def open_tab(self) -> None:
        self.tab = self.post("/api/tabs").json()["tab"]

    def next(self) -> dict[str, Any]:
        return self.get("/api/trials").json()

    def look(self, position: int, side: str) -> str:
        picture = self.get(f"/api/trials/{position}/{side}")
        assert picture.status_code == 200, picture.text
        return seen(np.asarray(Image.open(io.BytesIO(picture.content))))

    def show(self, position: int) -> str:
        showing = secrets.token_hex(12)
        answer = self.post(f"/api/trials/{position}/showings", {"showing": showing})
        assert answer.status_code == 200, answer.text
        return showing

    def vote(self, position: int, side: str, showing: str, shown_ms: tuple[float, ...] = ()) -> httpx.Response:
        return self.post(f"/api/trials/{position}/vote", ballot(side, showing, shown_ms))

    def take_part(self, choose: Choose, at_most: int = 10_000) -> None:
        """Answer trials to the end, or so many; exposures are reported as they should have been."""
        pictures = {"ab": 0, "timed": 1, "real-or-fake": 2}[self.client.get("/api/study").json()["protocol"]]
        for _ in range(at_most):
            trial = self.next()
            if trial["done"]:
                return
            position = trial["position"]
            side = choose(self.look(position, "left"), self.look(position, "right"))
            exposures = (1000 * trial["exposure"],) * pictures if pictures else ()
            answer = self.vote(position, side, self.show(position), exposures)
            assert answer.json()["counted"], answer.text


def ballot(side: str, showing: str, shown_ms: tuple[float, ...] = ()) -> dict[str, Any]:
    return {"side": side, "showing": showing, "shown_ms": shown_ms, "frame_ms": 16.7, "response_ms": 420.0}


def likes(share: float, seed: int, method: str = "amber") -> Choose:
    """Chooses a method in so large a share of trials, at random; never a spoilt picture."""
    random = np.random.default_rng(seed)

    def choose(left: str, right: str) -> str:
        if "spoilt" in (left, right):
            return "right" if left == "spoilt" else "left"
        if method not in (left, right):
            return str(random.choice(["left", "right"]))
        return "left" if (left == method) == (random.random() < share) else "right"

    return choose
