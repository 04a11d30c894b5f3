"""How the editor is started, and what it refuses to start with."""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from safetensors import safe_open
from safetensors.torch import save_file

from gesso import load
from gesso.cli.edit import SMALL, _leave_a_core, serve
from gesso.data.spaces import published
from gesso.editor.rendering import refuse_broken
from gesso.editor.server import create_app
from gesso.errors import ConfigError
from gesso.networks.segmenter import Segmenter, initialise
from gesso.serving import is_loopback, listen, url_of
from gesso.synthesis.segmenter import SegmenterInfo, save_segmenter
from gesso.synthesis.synthesizer import Synthesizer
from served import LIMITS, address_of, as_rgba, fields, pixels, png, served, start, stopped
from styled import SPACE, scene, write_scenes
from support import refused
from whole_styled import write_pix2pix_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_picture_model_is_refused(gesso: Any, tmp_path: Path) -> None:
    path = write_pix2pix_model(tmp_path / "photos.safetensors", pictures=True)
    refused(gesso("edit", path, "--port", 0), "photos.safetensors", "no classes in its file", "gesso info")
    with pytest.raises(ConfigError, match="no classes"):
        create_app(load(path, device="cpu"))


def spoil(path: Path, target: Path, name: str, value: float) -> Path:
    with safe_open(path, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    tensors[name].view(-1)[1] = value
    save_file(tensors, target, metadata=metadata)
    return target


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_of_no_numbers_is_refused_and_the_tensor_named(
    model_file: Path, tmp_path: Path, gesso: Any, value: float
) -> None:
    with safe_open(model_file, "pt") as file:
        names = sorted(file.keys())
    wanted = [next(name for name in names if name.startswith(part)) for part in ("generator.", "encoder.", "styles.")]
    for name in wanted:
        path = spoil(model_file, tmp_path / f"{name}.safetensors", name, value)
        refused(gesso("edit", path, "--port", 0), f"tensor {name} holds 1 of", "Use an earlier state")


def test_a_good_model_is_not_refused(model_file: Path) -> None:
    from gesso.checkpoints import load_model

    refuse_broken(load_model(model_file), model_file)


def test_a_busy_port_is_said_before_the_model_is_read(gesso: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(gesso("edit", tmp_path / "none.safetensors", "--port", port), f"--port {port}", "give another port")


def test_without_the_web_extra_it_is_said_what_to_install(gesso: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fastapi", "uvicorn", "python_multipart"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            refused(gesso("edit", "model.safetensors"), f"{name}, which is not installed: pip install 'gesso[web]'")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split", "val"], "name it with --data"),
        (["--project", "none.zip"], "no such file"),
        (["--segmenter", "none.safetensors"], "none.safetensors"),
        (["--data", "none"], "none"),
        (["--device", "abacus"], "abacus"),
        (["--host", "203.0.113.7"], "203.0.113.7"),
        (["--port", "99999"], "99999"),
    ],
)
def test_flags_that_mean_nothing_are_refused(gesso: Any, model_file: Path, flags: list[str], said: str) -> None:
    given = flags if "--port" in flags else ["--port", 0, *flags]
    refused(gesso("edit", model_file, *given), said)


def test_a_segmenter_is_wired_in_with_faithfulness(
    gesso: Any, model_file: Path, started: list[tuple[FastAPI, str]], tmp_path: Path
) -> None:
    network = initialise(Segmenter(classes=len(SPACE), width=4))
    assert isinstance(network, Segmenter)
    info = SegmenterInfo(label_space=SPACE, width=4, steps=0, origin="chance", size=(32, 64))
    save_segmenter(tmp_path / "segmenter.safetensors", network, info)
    gesso("edit", model_file, "--segmenter", tmp_path / "segmenter.safetensors", "--port", 0, "--no-browser")
    client = TestClient(started[0][0], base_url=started[0][1])
    assert client.get("/api/model").json()["faithfulness"] is True
    answer = client.post("/api/disagreement", **fields())
    assert answer.status_code == 200, answer.text
    assert 0 <= answer.json()["total"] <= 1
    other = info.model_copy(update={"label_space": published("facades")})
    save_segmenter(tmp_path / "other.safetensors", Segmenter(classes=len(other.label_space), width=4), other)
    refused(gesso("edit", model_file, "--segmenter", tmp_path / "other.safetensors", "--port", 0), "gesso evaluate")


def test_addresses_of_this_computer_alone() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "lab.example", "")))
    with listen("127.0.0.1", 0) as listening:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url_of(listening))


@pytest.mark.long
def test_the_command_serves_examples_of_a_dataset_until_interrupted(model_file: Path, tmp_path: Path) -> None:
    process = start(model_file, "--data", write_scenes(tmp_path / "scenes"), "--no-browser")
    try:
        address = address_of(process)
        said = httpx.get(f"{address}api/model", timeout=20).json()
        listed = httpx.get(f"{address}api/examples", timeout=20).json()
        assert httpx.get(address).status_code == 200
        answer = httpx.post(f"{address}api/render", **fields(), timeout=20)
    finally:
        stopped(process)
    assert (said["name"], [one["name"] for one in listed]) == (model_file.resolve().parent.name, ["one", "two"])
    assert (pixels(answer.content) == load(model_file, device="cpu")(*scene())).all()


@pytest.mark.long
def test_what_strangers_send_that_is_no_request_stays_out_of_the_terminal(model_file: Path) -> None:
    process = start(model_file, "--no-browser")
    try:
        address = httpx.URL(address_of(process))
        with socket.create_connection((address.host, address.port or 0), timeout=20) as stranger:
            stranger.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
            assert b"400" in stranger.recv(1000)
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = httpx.post(f"{address}api/render", content=b"--y\r\nno form", headers=kind, timeout=20)
        assert answer.status_code in (400, 422)
    finally:
        said = stopped(process)
    assert said == ""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[FastAPI, str]]:
    """What would have been served, and where; nothing is."""
    found: list[tuple[FastAPI, str]] = []
    monkeypatch.setattr("gesso.editor.server.run", lambda app, listening: found.append((app, url_of(listening))))
    return found


def test_beyond_this_computer_a_token_is_needed(
    gesso: Any, model_file: Path, started: list[tuple[FastAPI, str]]
) -> None:
    said = gesso("edit", model_file, "--host", "0.0.0.0", "--port", 0, "--no-browser").out
    (app, address), shown = started[0], re.search(r"The editor is at (http://\S+)\?token=(\S{20,}) ", said)
    assert shown and shown[1] == address
    assert "the token is new at each start" in said
    client = TestClient(app, base_url=address)
    assert client.get("/api/model").status_code == 401
    assert client.get(f"/?token={shown[2]}").status_code == 200
    assert client.get("/api/model").status_code == 200


def test_on_this_computer_none_is_needed_and_starting_is_quick(
    gesso: Any, model_file: Path, started: list[tuple[FastAPI, str]], tmp_path: Path
) -> None:
    gesso("edit", model_file, "--port", 0, "--no-browser")  # imports what is not imported yet
    began = time.perf_counter()
    said = gesso("edit", model_file, "--port", 0, "--no-browser").out
    assert time.perf_counter() - began < 3
    app, address = started[1]
    assert f"The editor is at {address} (" in said and "token" not in said
    assert TestClient(app, base_url=address).get("/api/model").json()["classes"]


def test_the_page_is_opened_where_there_is_a_screen(
    gesso: Any, model_file: Path, started: list[tuple[FastAPI, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("webbrowser.open", opened.put)
    monkeypatch.setenv("DISPLAY", ":0")
    gesso("edit", model_file, "--port", 0, "--no-browser")
    gesso("edit", model_file, "--port", 0)
    assert opened.get(timeout=20) == started[1][1]
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    gesso("edit", model_file, "--port", 0)
    assert opened.empty() and len(started) == 3


def test_other_commands_serve_a_loaded_model_beside_a_running_editor(
    synthesizer: Synthesizer, started: list[tuple[FastAPI, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listen("127.0.0.1", 0) as taken:
        monkeypatch.setattr("gesso.cli.edit.PORT", taken.getsockname()[1])
        serve(synthesizer, browser=False, name="demo")
        with pytest.raises(ConfigError, match="give another port"):
            serve(synthesizer, browser=False, port=taken.getsockname()[1])
    (app, address) = started[0]
    assert TestClient(app, base_url=address).get("/api/model").json()["name"] == "demo"


def test_a_live_connection_over_the_wire_and_messages_of_limited_size(synthesizer: Synthesizer) -> None:
    """With the server that people run: uvicorn and its WebSockets."""
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    from gesso.editor.live import MOST_HEADER, pack, unpack

    label, instance = (png(scene()[0].astype(np.uint8)), png(as_rgba(scene()[1])))
    with served(create_app(synthesizer), LIMITS) as address:
        place = f"{address.replace('http', 'ws')}/api/live"
        with connect(place) as live:
            live.send(pack({"request": 1, "bytes": [len(label), len(instance)]}, label + instance))
            head, content = unpack(live.recv(20))
            assert json.loads(head)["request"] == 1
            assert (pixels(content) == synthesizer(*scene())).all()
            with pytest.raises(ConnectionClosed):  # before the server has taken all of it
                live.send(bytes(LIMITS.bytes + MOST_HEADER + 1))
                live.recv(20)
        with pytest.raises(InvalidStatus, match="403"), connect(place, origin="http://evil.example"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    ("device", "weights", "threads", "left"),
    [
        ("cpu", SMALL - 1, 3, [2]),
        ("cpu", SMALL - 1, 2, []),  # somebody chose that, or it is what a container allows
        ("cpu", SMALL, 3, []),  # large layers are shared well
        ("cuda", SMALL - 1, 3, []),
    ],
)
def test_small_models_leave_a_core_to_the_browser(
    device: str, weights: int, threads: int, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 4, 5}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    model: Any = SimpleNamespace(device=device, weights=weights)
    _leave_a_core(model)
    assert chosen == left
