"""Live photographs: the newest layout of each connection, connections in turn, and what is said of bad frames.

A model that renders only when it is told to (`Held`) makes every order of events certain, without waiting by the clock.
"""

from __future__ import annotations

import io
import json
import logging
import queue
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from gesso import load
from gesso.editor import live, rendering
from gesso.editor.guard import Guard
from gesso.editor.live import UNEXPECTED, Asked, LiveRequest, Refused, Slot, pack, parse, unpack
from gesso.editor.rendering import PATIENCE, Priority, Renderer, Turns
from gesso.editor.security import Limits
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer
from styled import CAR, CAR_MODES, LEFT, SPACE, scene
from whole_styled import write_spade_model

ADDRESS = "ws://localhost/api/live"
PATIENT = 20  # seconds after which a test that hangs fails
LIMITS = Limits(pixels=64 * 128, bytes=100_000)
pytestmark = pytest.mark.usefixtures("one_thread")


class Held:
    """Stands in for a Synthesizer: each picture, all of its seed, waits until it is let through."""

    label_space = SPACE
    style_kind = None
    style_space = None

    def __init__(self) -> None:
        self.begun: queue.Queue[int] = queue.Queue()
        self._allowed = threading.Semaphore(0)

    def editing_session(self) -> Any:
        return SimpleNamespace(partial=False)

    def __call__(self, label: Any, instance: Any, style: Any, seed: int) -> Any:
        self.begun.put(seed)
        assert self._allowed.acquire(timeout=PATIENT)
        if seed == 99:
            raise RuntimeError("a fault of ours")
        return np.full((*label.shape, 3), seed, dtype=np.uint8)

    def let(self, count: int = 1) -> None:
        self._allowed.release(count)


def png(array: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG")
    return content.getvalue()


def maps(label: Any, instance: Any) -> tuple[bytes, bytes]:
    ids = instance.astype("<i4").view(np.uint8).reshape(*instance.shape, 4)
    return png(label.astype(np.uint8)), png(ids)


LABEL, INSTANCE = maps(*scene())


def frame(request: int, seed: int = 0, label: bytes = LABEL, instance: bytes = INSTANCE, **more: Any) -> bytes:
    header = {"request": request, "seed": seed, "bytes": [len(label), len(instance)], **more}
    return pack(header, label + instance)


def answer(socket: WebSocketTestSession) -> tuple[dict[str, Any], bytes]:
    head, content = unpack(socket.receive_bytes())
    return json.loads(head), content


def picture(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@contextmanager
def opened(model: Any, limits: Limits = LIMITS) -> Iterator[TestClient]:
    app = FastAPI()
    renderer = app.state.renderer = Renderer(model, limits)
    app.add_middleware(Guard, limits=limits)
    app.include_router(live.router(renderer))
    with TestClient(app, base_url="http://localhost") as client:
        yield client


# ------------------------------------------------------------------------------------------------------------ pictures


def test_a_live_picture_is_the_synthesizers_own(synthesizer: Synthesizer) -> None:
    label, instance = scene()
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(7, seed=3, style={"instances": {f"car:{LEFT}": 2}}))
        header, content = answer(socket)
    expected = synthesizer(label, instance, Style(instances={f"car:{LEFT}": 2}), 3)
    assert (picture(content) == expected).all()
    assert {k: v for k, v in header.items() if k != "milliseconds"} == {
        "request": 7,
        "width": 64,
        "height": 32,
        "scale": 1,
    }
    assert set(header["milliseconds"]) == {"wait", "decode", "model", "encode"}
    assert all(value >= 0 for value in header["milliseconds"].values())


def test_what_takes_long_comes_nearly_right_before(synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SLOW", 0.0)
    label, instance = scene()
    edited = label.copy()
    edited[1:3, 1:3] = CAR
    small = png(edited.astype(np.uint8))
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        for number in (1, 2):  # how long it takes is known after the first; from then on it is remembered
            socket.send_bytes(frame(number))
            header, _ = answer(socket)
            assert header["request"] == number and "off" not in header
        socket.send_bytes(frame(3, label=small))
        (soon, near), (late, exact) = answer(socket), answer(socket)
        assert soon["request"] == late["request"] == 3
        assert soon["off"] > 0 and "off" not in late
        assert (picture(exact) == synthesizer(edited, instance, None, 0)).all()
        gap = np.abs(picture(near).astype(int) - picture(exact))
        assert picture(near).shape == picture(exact).shape and gap.mean() < 20
        socket.send_bytes(frame(4, label=small, scale=0.5, preview=True))
        assert "off" not in answer(socket)[0]
        with monkeypatch.context() as fast:
            fast.setattr(rendering, "SLOW", 1e9)  # a model that took long only once
            socket.send_bytes(frame(5))
            assert "off" not in answer(socket)[0]
        with client.websocket_connect(ADDRESS) as other:  # nothing is remembered for this one
            other.send_bytes(frame(1))
            assert "off" not in answer(other)[0]


def test_nobody_waits_for_a_client_that_does_not_take_what_is_nearly_right(
    synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = live.Connection._send

    async def stuck(self: live.Connection, header: Any, content: bytes = b"") -> None:
        if "off" in header:
            await anyio.sleep_forever()
        await send(self, header, content)

    monkeypatch.setattr(live.Connection, "_send", stuck)
    monkeypatch.setattr(rendering, "SLOW", 0.0)
    edited = scene()[0].copy()
    edited[1:3, 1:3] = CAR
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        for number in (1, 2):
            socket.send_bytes(frame(number))
            answer(socket)
        socket.send_bytes(frame(3, label=png(edited.astype(np.uint8))))
        with client.websocket_connect(ADDRESS) as other:
            other.send_bytes(frame(1, seed=1))
            assert answer(other)[0]["request"] == 1


def test_hidden_objects_choices_are_left_out(synthesizer: Synthesizer) -> None:
    label, instance = scene()
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, style={"instances": {f"car:{LEFT}": 2, "car:4711": 1, "person:9": 0}}))
        header, content = answer(socket)
    assert "error" not in header
    assert (picture(content) == synthesizer(label, instance, Style(instances={f"car:{LEFT}": 2}), 0)).all()


def test_a_preview_shows_every_other_pixel_of_the_layout(synthesizer: Synthesizer) -> None:
    label, instance = scene()
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, scale=0.5))
        header, content = answer(socket)
    assert (header["width"], header["height"], header["scale"]) == (32, 16, 0.5)
    assert (picture(content) == synthesizer(label[1::2, 1::2], instance[1::2, 1::2], None, 0)).all()


def test_a_mode_of_an_object_changes_it(synthesizer: Synthesizer) -> None:
    label, instance = scene()
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        pictures = []
        for number in range(len(CAR_MODES)):
            socket.send_bytes(frame(number, style={"seed": 1, "instances": {f"car:{LEFT}": number}}))
            pictures.append(picture(answer(socket)[1]).astype(int))
    car = (label == CAR) & (instance == LEFT)
    assert all(np.abs(one - pictures[0])[car].mean() > 0 for one in pictures[1:])


def test_without_an_instance_map_and_for_a_model_with_z(tmp_path: Path) -> None:
    model = load(write_spade_model(tmp_path / "model.safetensors"), device="cpu")
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, seed=5, instance=b"", style={"seed": 6}))
        _, content = answer(socket)
    assert (picture(content) == model(scene()[0], None, Style(seed=6), 5)).all()


def test_a_model_without_style_takes_a_seed(tiny_model: Path) -> None:
    model = load(tiny_model, device="cpu")
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, style={"seed": 6}))
        _, content = answer(socket)
        socket.send_bytes(frame(2, style={"classes": {"car": 1}}))
        header, _ = answer(socket)
    assert (picture(content) == model(*scene())).all()
    assert "has no style" in header["error"]


# ----------------------------------------------------------------------------------------------------- newest, in turn


def test_an_overtaken_request_is_dropped_and_costs_nothing() -> None:
    model = Held()
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, seed=1))
        assert model.begun.get(timeout=PATIENT) == 1  # from here on the first is computed
        socket.send_bytes(frame(2, seed=2, label=b"no PNG: it would be refused if it were looked at"))
        socket.send_bytes(frame(3, seed=3))
        assert answer(socket) == ({"request": 2, "dropped": True}, b"")
        socket.send_bytes(frame(4, seed=4))
        assert answer(socket) == ({"request": 3, "dropped": True}, b"")
        model.let(2)
        first, second = answer(socket), answer(socket)
    assert [header["request"] for header, _ in (first, second)] == [1, 4]
    assert [int(picture(content).max()) for _, content in (first, second)] == [1, 4]
    assert [model.begun.get_nowait() for _ in range(model.begun.qsize())] == [4], "2 and 3 were never begun"


class Layered(Held):
    """Computes layer after layer until it is let through."""

    def __call__(self, label: Any, instance: Any, style: Any, seed: int) -> Any:
        self.begun.put(seed)
        layer, nothing = torch.nn.Identity(), torch.zeros(1)
        while not self._allowed.acquire(timeout=0.005):
            layer(nothing)
        return np.full((*label.shape, 3), seed, dtype=np.uint8)


def test_the_end_of_a_stroke_gives_up_its_preview() -> None:
    model = Layered()
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, seed=1, preview=True))
        assert model.begun.get(timeout=PATIENT) == 1
        socket.send_bytes(frame(2, seed=2))
        assert answer(socket) == ({"request": 1, "dropped": True}, b"")
        assert model.begun.get(timeout=PATIENT) == 2
        socket.send_bytes(frame(3, seed=3, preview=True))  # what follows does not interrupt what is whole,
        model.let()
        assert answer(socket)[0]["request"] == 2
        assert model.begun.get(timeout=PATIENT) == 3
        socket.send_bytes(frame(4, seed=4, preview=True))  # nor one preview the other: none would be seen
        model.let(2)
        assert [answer(socket)[0]["request"] for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("rested", [True, False], ids=["the pointer had rested", "the stroke had ended"])
def test_who_paints_on_does_not_wait_for_what_is_whole(rested: bool) -> None:
    model = Layered()
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, seed=1, preview=rested))
        assert model.begun.get(timeout=PATIENT) == 1
        socket.send_bytes(frame(2, seed=2, preview=True, scale=0.5))
        assert answer(socket) == ({"request": 1, "dropped": True}, b"")
        model.let()
        assert answer(socket)[0]["request"] == 2


def test_nothing_is_computed_for_who_has_left() -> None:
    model = Layered()
    with opened(model) as client, client.websocket_connect(ADDRESS) as staying:
        with client.websocket_connect(ADDRESS) as leaving:
            leaving.send_bytes(frame(1, seed=1))
            assert model.begun.get(timeout=PATIENT) == 1
        staying.send_bytes(frame(1, seed=2))
        assert model.begun.get(timeout=PATIENT) == 2
        model.let()
        assert answer(staying)[0]["request"] == 1


def test_a_preview_of_the_same_picture_is_the_picture() -> None:
    model = Layered()
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(frame(1, seed=1, preview=True))
        assert model.begun.get(timeout=PATIENT) == 1
        socket.send_bytes(frame(2, seed=1))
        model.let()
        (first, one), (second, same) = answer(socket), answer(socket)
        assert [first["request"], second["request"]] == [1, 2] and one == same
        assert model.begun.empty() and second["milliseconds"]["model"] == 0
        for number, other in enumerate((frame(3, seed=1, scale=0.5), frame(4, seed=1, style={"seed": 1}), frame(5)), 3):
            model.let()
            socket.send_bytes(other)
            assert answer(socket)[0]["request"] == number
            assert model.begun.get(timeout=PATIENT) in (0, 1)


@pytest.mark.parametrize(("priority", "times"), [(Priority.RENDER, 0), (Priority.CROP, 1), (Priority.CROP, PATIENCE)])
def test_crops_break_off_for_who_paints_but_not_for_ever(
    priority: Priority, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "QUIET", 0.0)
    monkeypatch.setattr(rendering, "SLOW", 1e9)
    model, label = Layered(), scene()[0]
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        renderer: Renderer = client.app.state.renderer  # type: ignore[attr-defined]
        crops: queue.Queue[Any] = queue.Queue()
        crop = threading.Thread(target=lambda: crops.put(renderer.render(label, seed=50, priority=priority)))
        crop.start()
        for number in range(1, times + 1):
            assert model.begun.get(timeout=PATIENT) == 50
            socket.send_bytes(frame(number, seed=number))
            assert model.begun.get(timeout=PATIENT) == number
            model.let()
            assert answer(socket)[0]["request"] == number
        assert model.begun.get(timeout=PATIENT) == 50
        if times != 1:  # it does not break off, or no more
            socket.send_bytes(frame(times + 1, seed=times + 1))
            model.let()
            assert crops.get(timeout=PATIENT).picture.max() == 50
            assert model.begun.get(timeout=PATIENT) == times + 1
        model.let()
        crop.join(PATIENT)
        if times == 1:
            assert crops.get(timeout=PATIENT).picture.max() == 50
        else:
            assert answer(socket)[0]["request"] == times + 1


def test_crops_that_take_long_wait_until_nobody_paints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "QUIET", 0.5)
    monkeypatch.setattr(rendering, "SLOW", 0.0)
    model, label = Layered(), scene()[0]
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        renderer: Renderer = client.app.state.renderer  # type: ignore[attr-defined]
        model.let()
        renderer.render(label, seed=7)  # that it takes long is known from now on
        assert model.begun.get(timeout=PATIENT) == 7
        crop = threading.Thread(target=lambda: renderer.render(label, seed=50, priority=Priority.CROP))
        crop.start()
        assert model.begun.get(timeout=PATIENT) == 50
        for number in range(1, PATIENCE + 4):
            socket.send_bytes(frame(number, seed=number))
            assert model.begun.get(timeout=PATIENT) == number, "not 50, which waits"
            model.let()
            assert answer(socket)[0]["request"] == number
        assert model.begun.get(timeout=PATIENT) == 50
        model.let()
        crop.join(PATIENT)
        assert not crop.is_alive()


def test_connections_take_turns() -> None:
    model = Held()
    with (
        opened(model) as client,
        client.websocket_connect(ADDRESS) as first,
        client.websocket_connect(ADDRESS) as second,
    ):
        first.send_bytes(frame(1, seed=1))
        assert model.begun.get(timeout=PATIENT) == 1
        second.send_bytes(frame(1, seed=101))
        assert client.app.state.renderer.turns.wait_for(1, PATIENT)  # type: ignore[attr-defined]
        for number in range(2, 6):  # one that paints much does not get more than its share
            first.send_bytes(frame(number, seed=number))
        dropped = [answer(first)[0] for _ in range(3)]
        model.let()
        assert answer(first)[0]["request"] == 1
        assert model.begun.get(timeout=PATIENT) == 101
        model.let()
        assert answer(second)[0]["request"] == 1
        assert model.begun.get(timeout=PATIENT) == 5
        model.let()
        last = answer(first)[0]
    assert last["request"] == 5 and last["milliseconds"]["wait"] > 0
    assert dropped == [{"request": number, "dropped": True} for number in (2, 3, 4)]


def test_who_left_is_not_rendered_for_and_the_others_go_on() -> None:
    model = Held()
    with opened(model) as client, client.websocket_connect(ADDRESS) as staying:
        staying.send_bytes(frame(1, seed=1))
        assert model.begun.get(timeout=PATIENT) == 1
        leaving = client.websocket_connect(ADDRESS)
        with leaving as socket:
            socket.send_bytes(frame(1, seed=50))
            socket.send_bytes(frame(2, seed=51))
            assert answer(socket)[0] == {"request": 1, "dropped": True}
            threading.Timer(0.05, model.let).start()  # leaving waits until the thread that had queued up has its turn
        assert answer(staying)[0]["request"] == 1
        staying.send_bytes(frame(2, seed=2))
        assert model.begun.get(timeout=PATIENT) == 2, "51 was not begun"
        model.let()
        assert answer(staying)[0]["request"] == 2


def test_a_fault_of_ours_is_logged_and_the_connection_lives_on(caplog: pytest.LogCaptureFixture) -> None:
    model = Held()
    model.let(2)
    with opened(model) as client, client.websocket_connect(ADDRESS) as socket:
        with caplog.at_level(logging.ERROR, "gesso.editor.live"):
            socket.send_bytes(frame(1, seed=99))
            assert answer(socket) == ({"request": 1, "error": UNEXPECTED}, b"")
        socket.send_bytes(frame(2, seed=2))
        assert answer(socket)[0]["request"] == 2
    assert "a fault of ours" in caplog.text


def test_a_slot_holds_the_newest() -> None:
    first, second = (Asked(LiveRequest(request=n, bytes=(0, 0)), b"", b"") for n in (1, 2))
    slot = Slot()
    assert slot.put(first) is None
    assert slot.put(second) is first
    assert slot.take() is second
    assert slot.take() is None


# --------------------------------------------------------------------------------------------------------------- turns


class Queue:
    """Threads that wait for one lock, which is held; they are entered one by one, so that their order is known."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.served: list[str] = []
        self._threads: list[threading.Thread] = []

    def enter(self, name: str, priority: Priority) -> None:
        def work() -> None:
            with self.turns.taken(priority):
                self.served.append(name)

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()
        assert self.turns.wait_for(len(self._threads), PATIENT)

    def finish(self) -> list[str]:
        for thread in self._threads:
            thread.join(PATIENT)
            assert not thread.is_alive()
        return self.served


def test_live_goes_before_the_rest_and_equals_in_their_order() -> None:
    queued = Queue()
    with queued.turns.taken(Priority.LIVE):
        for name, priority in (
            ("swatch", Priority.SWATCH),
            ("crop", Priority.CROP),
            ("render", Priority.RENDER),
            ("crop again", Priority.CROP),
            ("live", Priority.LIVE),
            ("live again", Priority.LIVE),
        ):
            queued.enter(name, priority)
    assert queued.finish() == ["live", "live again", "render", "crop", "crop again", "swatch"]


def test_nobody_waits_for_ever() -> None:
    queued = Queue()
    with queued.turns.taken(Priority.LIVE):
        queued.enter("render", Priority.RENDER)
        for number in range(2 * PATIENCE):
            queued.enter(str(number), Priority.LIVE)
    assert queued.finish().index("render") == PATIENCE - 1


def test_a_turn_ends_with_an_error() -> None:
    turns = Turns()
    with pytest.raises(KeyError), turns.taken(Priority.LIVE):
        raise KeyError
    with turns.taken(Priority.SWATCH):
        pass


# ----------------------------------------------------------------------------------------------------------- bad frames


def header_of(**fields: Any) -> bytes:
    return pack(fields, LABEL + INSTANCE)


BYTES = [len(LABEL), len(INSTANCE)]


@pytest.mark.parametrize(
    ("sent", "number", "said"),
    [
        (b"", None, "no frame"),
        (b"\x01\x00", None, "no frame"),
        (struct.pack("<I", 2**32 - 1) + b"{}", None, "no frame"),
        (struct.pack("<I", 2) + b"[]", None, "not understood"),
        (struct.pack("<I", 5) + b'{"a":', None, "not understood"),
        (struct.pack("<I", 4) + b"\xff\xfe\xfd\xfc", None, "not understood"),
        (pack({"request": 1})[:4] + b"[" * 14, None, "not understood"),
        (header_of(request=1, bytes=BYTES, besides=1), 1, "besides"),
        (header_of(request=-1, bytes=BYTES), None, "request"),
        (header_of(request=2.5, bytes=BYTES), None, "request"),
        (header_of(request=True, bytes=BYTES), None, "request"),
        (header_of(request=1, bytes=BYTES, seed=2**63), 1, "seed"),
        (header_of(request=1, bytes=BYTES, seed=-1), 1, "seed"),
        (header_of(request=1, bytes=[1, 2]), 1, "1 + 2 bytes"),
        (header_of(request=1, bytes=[-1, sum(BYTES) + 1]), 1, "bytes.0"),
        (header_of(request=1, bytes=BYTES, scale=0.3), 1, "scale is 0.3"),
        (header_of(request=1, bytes=BYTES, style={"seed": 10**40}), 1, "seed"),
        (header_of(request=1, bytes=BYTES, style={"z": [1.0]}), 1, "z of 1 numbers"),
        (header_of(request=1, bytes=BYTES, style={"classes": {"\ud800": 1}}), None, "not understood"),
        (header_of(request=1, bytes=BYTES, style={"classes": {"unicorn": 1}}), 1, "'unicorn', which is no class"),
        (frame(1, label=b"GIF89a" + bytes(60)), 1, "no PNG (a GIF)"),
        (frame(1, label=INSTANCE), 1, "4 channels"),
        (frame(1, label=png(np.full((32, 64), 200, np.uint8))), 1, "not in toy"),
        (frame(1, label=png(np.zeros((8, 8), np.uint8))), 1, "must be equal"),
        (frame(1, label=png(np.zeros((300, 300), np.uint8))), 1, "megapixels"),
        (frame(1, label=LABEL[:60]), 1, "damaged or cut off"),
        (frame(1, instance=png(np.zeros((32, 64, 3), np.uint8))), 1, "3 channels"),
        (frame(1, label=bytes(120_000)), 1, "too much"),
    ],
)
def test_a_bad_frame_is_answered_and_the_next_is_rendered(
    synthesizer: Synthesizer, sent: bytes, number: int | None, said: str
) -> None:
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_bytes(sent)
        header, content = answer(socket)
        assert (header["request"], content) == (number, b"")
        assert said in header["error"] and header["error"].count("\n") == 0
        socket.send_bytes(frame(2))
        assert answer(socket)[0]["request"] == 2


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda head: struct.pack("<I", len(head)) + head)))
def test_no_frame_of_chance_is_taken_for_a_request(sent: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        parse(sent, 1000)
    assert refusal.value.number is None


@given(
    st.integers(0, 2**53 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=99), st.binary(max_size=99), st.booleans()
)
def test_requests_arrive_as_they_were_sent(number: int, seed: int, label: bytes, instance: bytes, half: bool) -> None:
    asked = parse(frame(number, seed, label, instance, scale=0.5 if half else 1, style={"seed": seed}), 10_000)
    assert (asked.header.request, asked.header.seed, asked.label, asked.instance) == (number, seed, label, instance)
    assert (asked.header.scale, asked.header.style) == (0.5 if half else 1, {"seed": seed})


def test_text_is_no_frame(synthesizer: Synthesizer) -> None:
    with opened(synthesizer) as client, client.websocket_connect(ADDRESS) as socket:
        socket.send_text("hello")
        assert "no frame" in answer(socket)[0]["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_foreign_pages_cannot_connect(synthesizer: Synthesizer, headers: dict[str, str]) -> None:
    with (
        opened(synthesizer) as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(ADDRESS, headers=headers),
    ):
        pass


def test_only_so_many_pages_at_once(synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_CONNECTIONS", 1)
    with opened(synthesizer) as client:
        with client.websocket_connect(ADDRESS) as first:
            with client.websocket_connect(ADDRESS) as second, pytest.raises(WebSocketDisconnect) as refusal:
                second.receive_bytes()
            assert (refusal.value.code, refusal.value.reason) == (1013, "1 pages are open already: close one.")
            first.send_bytes(frame(1))
            assert answer(first)[0]["request"] == 1
        with client.websocket_connect(ADDRESS) as third:
            third.send_bytes(frame(1))
            assert answer(third)[0]["request"] == 1
