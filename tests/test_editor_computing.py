"""The editor's server while it computes, and how it ends."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from gesso.editor.live import pack, unpack
from gesso.editor.rendering import GONE, Abandoned, Closing, Renderer
from gesso.editor.segmenting import Reader
from gesso.editor.server import create_app
from gesso.errors import ConfigError
from gesso.evaluate.faithfulness import faithfulness
from gesso.serving import http_server
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import Synthesizer
from served import LIMITS, LOCAL, Held, address_of, fields, png, served, start, stopped
from styled import SPACE, photograph, scene

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_page_is_answered_while_a_photograph_is_computed(synthesizer: Synthesizer) -> None:
    held: Any = Held(synthesizer)
    answers: list[int] = []
    with TestClient(create_app(held), base_url=LOCAL) as client:
        sending = threading.Thread(target=lambda: answers.append(client.post("/api/render", **fields()).status_code))
        sending.start()
        held.begun.get(timeout=20)
        assert [client.get(path).status_code for path in ("/", "/api/model", "/main.js", "/api/examples")] == [200] * 4
        assert answers == []
        held.allowed.release()
        sending.join(20)
    assert answers == [200]


def test_what_nobody_waits_for_is_not_computed(synthesizer: Synthesizer) -> None:
    """Over a real connection: the second client hangs up while the first is computed."""
    held: Any = Held(synthesizer)
    app = create_app(held)
    with served(app) as address:
        first = threading.Thread(target=lambda: httpx.post(f"{address}/api/render", **fields(seed=1), timeout=20))
        first.start()
        assert held.begun.get(timeout=20) == 1
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/api/render", **fields(seed=2), timeout=0.5)
        third = threading.Thread(target=lambda: httpx.post(f"{address}/api/render", **fields(seed=3), timeout=20))
        third.start()
        assert app.state.renderer.turns.wait_for(2, 20)
        held.allowed.release()
        assert held.begun.get(timeout=20) == 3
        held.allowed.release()
        first.join(20)
        third.join(20)


def test_a_renderer_gives_up_for_who_has_gone(synthesizer: Synthesizer) -> None:
    gone = threading.Event()
    gone.set()
    forgotten = GONE.set(gone)
    try:
        with pytest.raises(Abandoned):
            Renderer(synthesizer).render(*scene())
    finally:
        GONE.reset(forgotten)
    assert Renderer(synthesizer).render(*scene()).picture.shape == (32, 64, 3)


def test_closing_waits_for_what_is_computed_and_begins_nothing(synthesizer: Synthesizer) -> None:
    held: Any = Held(synthesizer)
    renderer = Renderer(held)
    ended: list[type[Exception]] = []

    def compute() -> None:
        with pytest.raises(Closing) as refusal:
            renderer.render(*scene())
        ended.append(refusal.type)

    computing = threading.Thread(target=compute)
    computing.start()
    held.begun.get(timeout=20)
    closing = threading.Thread(target=renderer.close)
    closing.start()
    assert renderer.closed.wait(20)
    closing.join(0.1)
    assert closing.is_alive() and computing.is_alive()
    held.allowed.release()
    closing.join(20)
    assert not closing.is_alive()
    with pytest.raises(ConfigError, match="being closed"):
        renderer.render(*scene())
    computing.join(20)
    assert ended == [Closing], "it ended at the next layer"


def test_a_computation_ends_at_the_next_layer_when_nobody_waits_any_more(synthesizer: Synthesizer) -> None:
    renderer, gone, layers = Renderer(synthesizer), threading.Event(), []
    hook = register_module_forward_pre_hook(lambda *_: layers.append(gone.set()))
    forgotten = GONE.set(gone)
    try:
        with pytest.raises(Abandoned):
            renderer.render(*scene())
        assert len(layers) == 1
    finally:
        GONE.reset(forgotten)
        hook.remove()
    assert Renderer(synthesizer).render(*scene()).picture.shape == (32, 64, 3)


# ------------------------------------------------------------------------------------------------------------- the end


class HeldReading(PhotoSegmenter):
    """A segmenter that reads until it is let go; knows how many read at once."""

    def __init__(self) -> None:
        super().__init__("held", "nothing", SPACE, "0" * 64)
        self.begun, self.allowed = queue.Queue[int](), threading.Semaphore(0)
        self.inside, self.most, self._lock = 0, 0, threading.Lock()

    def _read(self, pixels: Tensor) -> Tensor:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.begun.put(self.inside)
        assert self.allowed.acquire(timeout=20)
        with self._lock:
            self.inside -= 1
        return torch.zeros(pixels.shape[-2:], dtype=torch.int64)


class Asking:
    """Requests that are sent at once, each from a thread of its own; statuses and sentences as they come."""

    def __init__(self, *sendings: Any) -> None:
        self.answers: queue.Queue[tuple[int, str]] = queue.Queue()
        self._threads = [threading.Thread(target=self._send, args=(one,)) for one in sendings]
        for thread in self._threads:
            thread.start()

    def _send(self, sending: Any) -> None:
        answer = sending()
        said = answer.json() if answer.headers["content-type"] == "application/json" else {}
        self.answers.put((answer.status_code, said.get("detail", "")))

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


CLOSING = (503, "The editor is being closed; start it again to go on.")


def check_end(app: Any, begun: Any, allowed: threading.Semaphore, send: Any) -> None:
    """Three requests, of which one is computed: at the end all are refused in a sentence, and nothing else is begun."""
    with (running := served(app)) as address:
        asking = Asking(*[lambda: send(address)] * 3)
        begun.get(timeout=20)
        time.sleep(0.3)  # the others arrive, and wait
        running.server.should_exit = True
        assert [asking.answers.get(timeout=20) for _ in range(3)] == [CLOSING] * 3, "while the first is still computed"
        assert running.thread.is_alive(), "it waits for what is computed"
        allowed.release(3)
        asking.join()
    assert begun.empty(), "the others were not begun"


def test_the_end_refuses_renders_that_wait_and_one_that_takes_long(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gesso.editor.server.GOODBYE", 1)
    held: Any = Held(synthesizer)
    check_end(
        create_app(held),
        held.begun,
        held.allowed,
        lambda address: httpx.post(f"{address}/api/render", **fields(), timeout=20),
    )
    assert capfd.readouterr() == ("", ""), "nothing of it is in the terminal"


@pytest.mark.long
@pytest.mark.parametrize(("path", "field"), [("segment", "photograph"), ("open/photograph", "file")])
def test_the_end_refuses_photographs_that_wait_to_be_read(
    synthesizer: Synthesizer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
    field: str,
) -> None:
    monkeypatch.setattr("gesso.editor.server.GOODBYE", 1)
    reading, files = HeldReading(), {field: ("p.png", png(photograph()))}
    app = create_app(synthesizer, segmenter=reading, faithfulness=faithfulness)
    check_end(
        app,
        reading.begun,
        reading.allowed,
        lambda address: httpx.post(f"{address}/api/{path}", files=files, timeout=20),
    )
    assert capfd.readouterr() == ("", "")


def test_a_segmenter_reads_one_photograph_at_a_time_whoever_asks(synthesizer: Synthesizer) -> None:
    reading = HeldReading()
    reading.allowed.release(8)
    app = create_app(synthesizer, segmenter=reading, faithfulness=faithfulness)
    content = png(photograph())
    with TestClient(app, base_url=LOCAL) as client:
        asking = Asking(
            *[lambda: client.post("/api/disagreement", **fields())] * 4,
            *[lambda: client.post("/api/segment", files={"photograph": ("p.png", content)})] * 2,
            *[lambda: client.post("/api/open/photograph", files={"file": ("p.png", content)})] * 2,
        )
        asking.join()
    assert [asking.answers.get_nowait()[0] for _ in range(8)] == [200] * 8
    assert (reading.begun.qsize(), reading.most) == (8, 1)


def test_painting_goes_on_while_a_photograph_is_segmented(synthesizer: Synthesizer) -> None:
    reading = HeldReading()
    with TestClient(create_app(synthesizer, segmenter=reading, faithfulness=faithfulness), base_url=LOCAL) as client:
        asking = Asking(lambda: client.post("/api/segment", files={"photograph": ("p.png", png(photograph()))}))
        reading.begun.get(timeout=20)
        try:
            painting = Asking(lambda: client.post("/api/render", **fields()))
            assert painting.answers.get(timeout=10) == (200, "")
            with client.websocket_connect(LOCAL.replace("http", "ws") + "/api/live") as socket:
                label, instance = (content for _, content in fields()["files"].values())
                socket.send_bytes(pack({"request": 1, "bytes": [len(label), len(instance)]}, label + instance))
                head, content = unpack(socket.receive_bytes())
                assert (json.loads(head)["request"], content[1:4]) == (1, b"PNG")
            assert asking.answers.empty(), "the photograph is still being read"
        finally:
            reading.allowed.release()
        asking.join()
        painting.join()
    assert asking.answers.get_nowait()[0] == 200


def test_a_reading_ends_at_the_next_layer_when_nobody_waits_any_more(synthesizer: Synthesizer) -> None:
    gone = threading.Event()

    class Layered(HeldReading):
        def _read(self, pixels: Tensor) -> Tensor:
            gone.set()
            torch.nn.Identity()(pixels)
            raise AssertionError("the layer was computed")

    forgotten = GONE.set(gone)
    try:
        with pytest.raises(Abandoned):
            Reader(Renderer(synthesizer), Layered()).read(photograph())
    finally:
        GONE.reset(forgotten)


def test_closing_waits_for_what_is_read_beside_the_model(synthesizer: Synthesizer) -> None:
    reading, renderer = HeldReading(), Renderer(synthesizer)
    reader = Reader(renderer, reading)
    threads = [threading.Thread(target=reader.read, args=(photograph(),)), threading.Thread(target=reader.close)]
    threads[0].start()
    reading.begun.get(timeout=20)
    renderer.close()
    threads[1].start()
    threads[1].join(0.1)
    assert threads[1].is_alive()
    reading.allowed.release()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.long
def test_a_photograph_is_not_read_for_who_has_gone(synthesizer: Synthesizer) -> None:
    reading, gone = HeldReading(), threading.Event()
    reader = Reader(Renderer(synthesizer), reading)
    gone.set()
    forgotten = GONE.set(gone)
    try:
        with pytest.raises(Abandoned):
            reader.document(photograph())
    finally:
        GONE.reset(forgotten)
    assert reading.begun.empty()


@pytest.mark.long
def test_ctrl_c_ends_a_render_in_flight_with_a_sentence_and_no_traceback(model_file: Path) -> None:
    process = start(model_file, "--no-browser")
    try:
        address = address_of(process)
        label = png(np.zeros((2048, 2048), np.uint8))
        assert httpx.get(f"{address}api/model", timeout=20).status_code == 200
        asking = Asking(*[lambda: httpx.post(f"{address}api/render", files={"label": label}, timeout=60)] * 3)
        time.sleep(1)
    finally:
        said = stopped(process)
    asking.join()
    assert "Cancel" not in said and "Exception" not in said, said
    assert CLOSING in [asking.answers.get_nowait() for _ in range(3)]


def test_a_server_leaves_the_logging_of_its_process_alone() -> None:
    """A new configuration closes all handlers; absl's, which TensorBoard brings, closes the stream of the terminal."""

    class Closable(logging.Handler):
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

    handler = Closable()
    http_server(FastAPI())
    assert not handler.closed
    handler.close()


def test_an_application_ends_with_its_threads_and_can_be_served_again(synthesizer: Synthesizer) -> None:
    app = create_app(synthesizer, limits=LIMITS)
    for _ in range(2):
        with TestClient(app, base_url=LOCAL) as client:
            assert client.get("/api/swatches").status_code == client.get("/api/library").status_code == 200
            assert client.post("/api/render", **fields()).status_code == 200
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("gesso-")]
    assert "being closed" in TestClient(app, base_url=LOCAL).get("/api/examples/5").json()["detail"]


def test_faults_of_ours_and_full_memory_are_said(synthesizer: Synthesizer, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Held):
        def __call__(self, label: Any, instance: Any, style: Any, seed: int) -> Any:
            raise {0: RuntimeError("a fault of ours"), 1: MemoryError(), 2: torch.OutOfMemoryError("CUDA")}[seed]

    model: Any = Failing(synthesizer)
    client = TestClient(create_app(model), base_url=LOCAL)
    answer = client.post("/api/render", **fields(seed=0))
    assert answer.status_code == 500 and "terminal" in answer.json()["detail"]
    assert "a fault of ours" in caplog.text and "a fault of ours" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for seed in (1, 2):
        answer = client.post("/api/render", **fields(seed=seed))
        assert answer.status_code == 507 and "not enough free memory" in answer.json()["detail"]
