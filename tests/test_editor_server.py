"""The editor's server: what it renders, who may ask, what it takes, and how it is started."""

from __future__ import annotations

import io
import json
import os
import queue
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI, UploadFile
from fastapi.testclient import TestClient
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from starlette.websockets import WebSocketDisconnect

from gesso import load
from gesso.cli.edit import serve
from gesso.data.spaces import published
from gesso.editor import security
from gesso.editor.guard import HEADERS, TOKEN_HEADER
from gesso.editor.rendering import GONE, Abandoned, Renderer, encode_png, encode_quickly, reduced, refuse_broken
from gesso.editor.security import Limits, read_instances, read_label, read_photograph, read_png
from gesso.editor.server import Project, create_app, server
from gesso.errors import ConfigError, DataError, LabelError
from gesso.networks.segmenter import Segmenter, initialise
from gesso.serving import is_loopback, listen, url_of
from gesso.synthesis.segmenter import SegmenterInfo, save_segmenter
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, read_record, save_png
from styled import LEFT, RIGHT, SPACE, clusters, photograph, scene, write_scenes, write_styled_model
from support import refused
from whole_styled import write_pix2pix_model, write_spade_model

LIMITS = Limits(pixels=128 * 128, bytes=200_000)
LOCAL = "http://localhost:8765"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_styled_model(tmp_path_factory.mktemp("edited") / "model.safetensors", styles=clusters())


@pytest.fixture(scope="module")
def synthesizer(model_file: Path) -> Synthesizer:
    return load(model_file, device="cpu")


@pytest.fixture(scope="module")
def client(synthesizer: Synthesizer) -> Iterator[TestClient]:
    with TestClient(create_app(synthesizer, limits=LIMITS), base_url=LOCAL) as made:
        yield made


def png(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "PNG", **options)
    return content.getvalue()


def as_rgba(instance: Any) -> Any:
    return instance.astype("<i4").view(np.uint8).reshape(*instance.shape, 4)


def fields(**more: Any) -> dict[str, Any]:
    """What /api/render is sent: the maps of `scene`, and form fields."""
    label, instance = scene()
    files = {"label": ("l.png", png(label.astype(np.uint8))), "instance": ("i.png", png(as_rgba(instance)))}
    return {"files": files, "data": {name: str(value) for name, value in more.items()}}


def pixels(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


# ------------------------------------------------------------------------------------------------------------ rendering


def test_a_render_is_what_save_png_writes(client: TestClient, synthesizer: Synthesizer, tmp_path: Path) -> None:
    style = Style(seed=4, classes={"road": 1}, instances={f"car:{LEFT}": 2})
    answer = client.post("/api/render", **fields(seed=3, style=style.model_dump_json()))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    save_png(tmp_path / "own.png", synthesizer(*scene(), style, 3), synthesizer.record(3, style))
    assert answer.content == (tmp_path / "own.png").read_bytes()
    record = read_record(tmp_path / "own.png")
    assert record is not None and record["model"] == synthesizer.hash
    assert set(json.loads(answer.headers["X-Gesso-Milliseconds"])) == {"wait", "model", "encode"}


def test_hidden_objects_styles_are_left_out_of_picture_and_record(
    client: TestClient, synthesizer: Synthesizer, tmp_path: Path
) -> None:
    shown = {f"car:{LEFT}": 2}
    style = {"instances": {**shown, f"car:{RIGHT + 1}": 1, "tree:5": [0.1, 0.2, 0.3]}}
    answer = client.post("/api/render", **fields(style=json.dumps(style)))
    assert answer.status_code == 200, answer.text
    assert (pixels(answer.content) == synthesizer(*scene(), Style(instances=shown))).all()
    (tmp_path / "p.png").write_bytes(answer.content)
    record = read_record(tmp_path / "p.png")
    assert record is not None and record["style"]["instances"] == shown


def test_a_scale_renders_every_other_pixel_and_says_so(
    client: TestClient, synthesizer: Synthesizer, tmp_path: Path
) -> None:
    label, instance = scene()
    for scale, step in ((0.5, 2), (0.25, 4)):
        answer = client.post("/api/render", **fields(scale=scale))
        part = np.s_[step // 2 :: step, step // 2 :: step]
        assert (pixels(answer.content) == synthesizer(label[part], instance[part])).all()
        (tmp_path / "p.png").write_bytes(answer.content)
        record = read_record(tmp_path / "p.png")
        assert record is not None and record["scale"] == scale


def test_any_map_keeps_a_pixel_when_reduced() -> None:
    for shape in ((1, 1), (1, 5), (2, 3), (7, 9)):
        for scale in (1, 0.5, 0.25):
            assert reduced(np.zeros(shape, np.int32), scale).size
    assert (reduced(np.arange(8)[None], 0.25) == [[2, 6]]).all()
    with pytest.raises(ConfigError, match=r"scale is 0.3; give 1, 0.5 or 0.25"):
        reduced(np.zeros((4, 4), np.int32), 0.3)


def test_without_instances_components_stand_in(client: TestClient, synthesizer: Synthesizer) -> None:
    sent = fields(seed=1)
    del sent["files"]["instance"]
    assert (pixels(client.post("/api/render", **sent).content) == synthesizer(scene()[0], seed=1)).all()


@pytest.mark.parametrize("write", [write_spade_model, write_pix2pix_model])
def test_models_with_a_style_of_the_whole_picture(write: Any, tmp_path: Path) -> None:
    model = load(write(tmp_path / "model.safetensors"), device="cpu")
    with TestClient(create_app(model), base_url=LOCAL) as client:
        answer = client.post("/api/render", **fields(seed=5, style='{"seed": 9}'))
        said = client.get("/api/model").json()
    assert (pixels(answer.content) == model(scene()[0], None, Style(seed=9), 5)).all()
    assert (said["styleKind"], said["styleRegions"], said["modes"]) == (model.style_kind, None, {})


def test_quick_png_is_exact() -> None:
    for size in ((1, 1), (3, 5), (128, 300)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        assert (pixels(encode_quickly(picture)) == picture).all()
        assert (pixels(encode_png(picture, {"seed": 1})) == picture).all()


# ------------------------------------------------------------------------------------------------- what the model is


def test_the_model_is_described(client: TestClient, synthesizer: Synthesizer) -> None:
    said = client.get("/api/model").json()
    assert [one["name"] for one in said["classes"]] == list(SPACE.names)
    assert said["classes"][3] == {
        "index": 3,
        "name": SPACE.names[3],
        "colour": list(SPACE.classes[3].colour),
        "thing": SPACE.classes[3].thing,
        "value": SPACE.classes[3].values[0],
    }
    wanted = {
        "name": "pix2pixhd",
        "hash": synthesizer.hash,
        "recipe": "pix2pixhd",
        "ignored": True,
        "size": [32, 64],
        "multiple": 4,
        "styleKind": "features",
        "styleRegions": "instance",
        "modes": {"car": 4, "road": 2},
        "channels": 3,
        "encoder": True,
        "segmenter": None,
        "faithfulness": False,
        "project": None,
        "limits": {"pixels": LIMITS.pixels, "bytes": LIMITS.bytes},
    }
    assert {name: said[name] for name in wanted} == wanted


def test_each_start_is_a_session(client: TestClient, synthesizer: Synthesizer) -> None:
    other = TestClient(create_app(synthesizer, name="mine"), base_url=LOCAL).get("/api/model").json()
    assert other["name"] == "mine"
    assert other["session"] != client.get("/api/model").json()["session"]


def test_the_addresses_are_documented(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    assert {
        "/api/model",
        "/api/render",
        "/api/examples",
        "/api/mode",
        "/api/styles",
        "/api/encode",
        "/api/interpolate",
        "/api/segment",
        "/api/disagreement",
        "/api/open/labels",
        "/api/open/instances",
        "/api/open/photograph",
        "/api/project/save",
        "/api/project/open",
        "/api/library",
        "/api/swatches",
    } <= paths.keys()
    assert all(one["summary"] or one["description"] for path in paths.values() for one in path.values())
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_a_project_to_begin_with_is_opened(client: TestClient, synthesizer: Synthesizer) -> None:
    document = client.get("/api/examples/0").json()
    document.pop("photograph")
    saved = client.post("/api/project/save", data={"document": json.dumps(document)})
    assert saved.status_code == 200, saved.text
    app = create_app(synthesizer, project=Project("mine.zip", saved.content))
    with TestClient(app, base_url=LOCAL) as started:
        assert started.get("/api/model").json()["project"] == "mine.zip"
        found = started.get("/api/project").json()
    assert (found["document"], found["sameModel"]) == (document, True)
    assert client.get("/api/project").status_code in (404, 405)


# ------------------------------------------------------------------------------------------------------------- the page


def test_the_page_comes_from_the_package_without_inline_script(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" in page.text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|\bon\w+\s*=\s*[\"']|javascript:|style\s*=", page.text)
    for address in re.findall(r"(?:src|href)=\"([^\"#:]+)\"", page.text):
        answer = client.get(f"/{address}")
        assert answer.status_code == 200, address
        assert "charset=utf-8" in answer.headers["content-type"] or address.endswith(".svg")
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert client.head("/").status_code == 200


def test_every_module_that_a_module_imports_is_served(client: TestClient) -> None:
    seen, todo = set(), ["main.js"]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = client.get(f"/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        folder = Path(name).parent
        for found in re.findall(r"^(?:import|export)[^;]*?from \"(\.[^\"]+)\"", answer.text, re.M):
            todo.append(os.path.normpath(folder / found))
    assert len(seen) > 1


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/%2e%2e/server.py",
        "/..%2fserver.py",
        "/model/..%2f..%2f..%2fserver.py",
        "/model/%2e%2e/%2e%2e/wire.py",
        "/%2fetc/passwd",
        "//etc/passwd",
        "/static/index.html",
        "/server.py",
        "/jsconfig.json",
        "/index.html/",
        "/main.js%00.css",
        "/MAIN.JS",
        "/model",
        "/model/",
        "/..\\server.py",
    ],
)
def test_nothing_but_the_list_is_served(client: TestClient, path: str) -> None:
    request = client.build_request("GET", LOCAL)
    request.url = httpx.URL(LOCAL).copy_with(raw_path=path.encode())
    answer = client.send(request)
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


def test_files_that_clients_name_are_never_opened(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever paths are in names, fields and addresses, no file is opened that they could mean."""
    secret = "/etc/hostname"
    opened: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | bytes):
            opened.append(os.fsdecode(arguments[0]))

    watching = False
    sys.addaudithook(watch)
    label = png(scene()[0].astype(np.uint8))
    watching = True
    try:
        for path in ("open/labels", "open/instances", "open/photograph", "project/open", "segment", "encode"):
            for field in ("file", "photograph"):
                files = {field: (f"../../../..{secret}", label), "label": (secret, label)}
                client.post(f"/api/{path}", files=files, data={"instance": secret, "instances": secret})
        client.post("/api/render", files={"label": (secret, label)}, data={"style": secret, "instance": secret})
        client.post("/api/project/save", data={"document": secret, "photograph": secret})
        client.get(f"/api/examples/{secret}")
        client.get(f"/{secret}")
    finally:
        watching = False
    assert not [path for path in opened if secret in path or ".." in path]


# ---------------------------------------------------------------------------------------------------------- who may ask


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for answer in (
        client.get("/"),
        client.get("/nothing"),
        client.post("/api/render", **fields()),
        client.post("/api/render"),
        client.get("/", headers={"Host": "evil.example"}),
    ):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8765", "", "127.0.0.1.evil.example", "a@localhost"]
)
def test_foreign_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/model", "/nothing"):
        answer = client.get(path, headers={"Host": host})
        assert (answer.status_code, "not called so" in answer.json()["detail"]) == (421, True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8765", "192.168.1.7:8765"])
def test_own_hosts_are_taken(client: TestClient, host: str) -> None:
    assert client.get("/api/model", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_a_name_that_was_given_is_taken(synthesizer: Synthesizer) -> None:
    client = TestClient(create_app(synthesizer, names=("Lab.example",)), base_url="http://lab.example:8765")
    assert client.get("/api/model").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8765.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_other_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/render", **fields(), headers=headers).status_code == 403
    assert client.get("/api/model", headers=headers).status_code == 403


def test_the_page_itself_and_scripts_are_let_in(client: TestClient) -> None:
    for headers in ({}, {"Origin": LOCAL, "Sec-Fetch-Site": "same-origin"}, {"Origin": "https://localhost:8765"}):
        assert client.post("/api/render", **fields(), headers=headers).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200, "a link on another page may lead here"


def test_a_token_lets_in_by_address_cookie_and_header(synthesizer: Synthesizer) -> None:
    app = create_app(synthesizer, token="let-me-in")
    stranger = TestClient(app, base_url=LOCAL)
    for path in ("/", "/main.js", "/api/model", "/?token=let-me", "/?token=", "/api/model?token=let-me-in"):
        answer = stranger.get(path)
        assert (answer.status_code, "open that address" in answer.json()["detail"]) == (401, True), path
        assert "set-cookie" not in answer.headers
    assert stranger.get("/api/model", headers={TOKEN_HEADER: "let-me-in"}).status_code == 200
    assert stranger.get("/api/model", headers={TOKEN_HEADER: "lét-me-in".encode()}).status_code == 401
    guest = TestClient(app, base_url=LOCAL)
    page = guest.get("/?token=let-me-in")
    assert page.status_code == 200
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(page.headers["set-cookie"].split("; "))
    assert guest.get("/api/model").status_code == 200
    with guest.websocket_connect("ws://localhost:8765/api/live", headers={"Origin": LOCAL}) as connection:
        connection.close()
    with pytest.raises(WebSocketDisconnect), stranger.websocket_connect("ws://localhost:8765/api/live"):
        pass
    again = TestClient(create_app(synthesizer, token="another"), base_url=LOCAL, cookies=guest.cookies)
    assert again.get("/api/model").status_code == 401, "a token is good for one start"


# ------------------------------------------------------------------------------------------------------ what is taken


def refusal(client: TestClient, expected: int = 422, **sent: Any) -> str:
    answer = client.post("/api/render", **sent)
    assert answer.status_code == expected, answer.text
    said = answer.json()["detail"]
    assert isinstance(said, str) and "\n" not in said
    return said


def with_label(content: bytes) -> dict[str, Any]:
    return {"files": {"label": ("l.png", content)}}


def bomb(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says its size; of so much data that decoding would be noticed."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        security.PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", data or zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_bombs_are_refused_before_they_are_decoded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: pytest.fail("it was opened"))
    for width, height in (
        (30_000, 30_000),
        (2**31 - 1, 2**31 - 1),
        (1, 20_000),
        (20_000, 1),
        (0, 5),
        (5, 0),
        (129, 128),
    ):
        said = refusal(client, **with_label(bomb(width, height, zlib.compress(bytes(10**7), 9))))
        assert f"{width} x {height}" in said and "Reduce it" in said


def test_a_picture_of_text_that_unpacks_to_much_is_refused(client: TestClient) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    plain = bomb(4, 4, zlib.compress(bytes(20)))
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(5 * 10**7)))
    assert "cannot be read" in refusal(client, **with_label(plain[:33] + text + plain[33:]))


def test_wrong_types_are_refused_by_their_first_bytes(client: TestClient) -> None:
    jpeg = io.BytesIO()
    Image.fromarray(photograph()).save(jpeg, "JPEG")
    for content, kind in (
        (b"GIF89a" + bytes(40), "a GIF"),
        (jpeg.getvalue(), "a JPEG"),
        (b"RIFF____WEBPVP8 ", "WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a text file"),
        (b"PK\x03\x04" + bytes(40), "a zip"),
        (bytes(100), "unknown kind"),
        (security.PNG_MAGIC, "cut off"),
        (b"", "empty"),
    ):
        said = refusal(client, **with_label(content))
        assert "is no PNG" in said and kind in said


def test_damaged_files_are_refused(client: TestClient) -> None:
    whole = png(scene()[0].astype(np.uint8))
    assert "damaged or cut off" in refusal(client, **with_label(whole[: len(whole) // 2]))
    spoilt = bytearray(whole)
    spoilt[40:60] = bytes(20)
    assert "damaged or cut off" in refusal(client, **with_label(bytes(spoilt)))


def test_layouts_that_mean_nothing_are_refused(client: TestClient) -> None:
    label, instance = scene()
    assert "4 channels" in refusal(client, **with_label(png(as_rgba(instance))))
    assert "does not have: 77 (2048 pixels)" in refusal(client, **with_label(png(np.full((32, 64), 77, np.uint8))))
    sent = fields()
    sent["files"]["instance"] = ("i.png", png(as_rgba(instance[:16])))
    assert "64 x 16" in refusal(client, **sent)
    sent["files"]["instance"] = ("i.png", png(photograph()))
    assert "3 channels" in refusal(client, **sent)
    assert label.shape == (32, 64)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"style": "{"}, "not JSON"),
        ({"style": "[" * 100_000}, "not JSON"),
        ({"style": "[]"}, "not valid"),
        ({"style": '{"besides": 1}'}, "besides"),
        ({"style": '{"classes": {"unicorn": 1}}'}, "unicorn"),
        ({"style": '{"classes": {"\\ud800": 1}}'}, "no class"),
        ({"style": '{"classes": {"car": 1e999}}'}, "car"),
        ({"style": '{"classes": {"car": [NaN, 0, 0]}}'}, "car"),
        ({"style": '{"seed": 9223372036854775808}'}, "seed"),
        ({"style": '{"seed": 1' + "0" * 5000 + "}"}, "not JSON"),
        ({"style": '{"z": [0.5]}'}, "z of 1 numbers"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"scale": 0.3}, "scale is 0.3"),
        ({"scale": "nan"}, "scale is nan"),
        ({"scale": "inf"}, "scale is inf"),
    ],
)
def test_wrong_fields_are_refused_in_a_sentence(client: TestClient, given: dict[str, Any], said: str) -> None:
    assert said in refusal(client, **fields(**given))


def test_a_request_without_its_parts_is_refused_in_a_sentence(client: TestClient) -> None:
    assert "label: Field required" in refusal(client, data={"seed": "1"})
    answer = client.post(
        "/api/render", content=b"--x\r\nnot a form", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str)
    assert isinstance(client.get("/api/render").json()["detail"], str)


def test_long_bodies_are_refused_by_what_they_say_and_by_what_comes(client: TestClient) -> None:
    sent = with_label(bytes(LIMITS.bytes + 1))
    assert "0.1907 MiB" in refusal(client, 413, **sent)
    request = client.build_request("POST", "/api/render", **sent)
    body = request.read()
    kind = {"Content-Type": request.headers["Content-Type"]}

    def parts() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    answer = client.post("/api/render", content=parts(), headers=kind)  # without a length
    assert answer.status_code == 413 and "too much" in answer.json()["detail"]
    short = client.post("/api/render", content=body, headers={**kind, "Content-Length": "-5"})
    assert short.status_code == 413
    assert client.post("/api/render", **fields()).status_code == 200


class Talk:
    """One request to an application, part by part."""

    def __init__(self, app: Any, parts: list[bytes], endless: bool = False) -> None:
        self.app, self.parts, self.endless = app, parts, endless
        self.taken = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        self.taken += 1
        body = self.parts[min(self.taken, len(self.parts)) - 1]
        return {"type": "http.request", "body": body, "more_body": self.endless or self.taken < len(self.parts)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def run(self, headers: dict[str, str]) -> int:
        raw = [(name.lower().encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/render",
            "raw_path": b"/api/render",
            "query_string": b"",
            "headers": raw,
            "scheme": "http",
            "http_version": "1.1",
        }
        anyio.run(self.app, scope, self.receive, self.send)
        return int(self.sent[0]["status"])


def test_a_lying_length_is_counted_and_an_endless_body_is_cut_off(synthesizer: Synthesizer) -> None:
    form = "multipart/form-data; boundary=x"
    head = b'--x\r\nContent-Disposition: form-data; name="label"; filename="l"\r\n\r\n'
    part = bytes(50_000)
    lying = Talk(create_app(synthesizer, limits=LIMITS), [head, *[part] * 5, b"\r\n--x--\r\n"])
    assert lying.run({"content-type": form, "content-length": "100"}) == 413
    endless = Talk(create_app(synthesizer, limits=LIMITS), [head, part], endless=True)
    assert endless.run({"content-type": form}) == 413
    assert endless.taken < 30, "it is not read for ever"


# --------------------------------------------------------------------------------------------------- reading uploads


def test_maps_are_read_as_they_are_stored() -> None:
    generator = np.random.default_rng(1)
    gray, deep = (
        generator.integers(0, 256, (5, 7), dtype=np.uint8),
        generator.integers(0, 65536, (5, 7), dtype=np.uint16),
    )
    assert (read_png(png(gray), LIMITS) == gray).all()
    assert (read_label(png(deep), LIMITS) == deep).all() and read_label(png(deep), LIMITS).dtype == np.uint16
    assert (read_png(png(np.dstack([gray, gray])), LIMITS) == gray).all(), "alpha is dropped"
    upload = UploadFile(io.BytesIO(png(gray)), filename="../../etc/passwd")
    assert (read_png(upload, LIMITS) == gray).all()
    few = gray % 4
    palette = Image.fromarray(few)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    content = io.BytesIO()
    palette.save(content, "PNG", bits=2)
    assert (read_png(content.getvalue(), LIMITS) == few).all()
    ones = io.BytesIO()
    Image.fromarray(gray > 99).save(ones, "PNG")
    assert (read_png(ones.getvalue(), LIMITS) == (gray > 99)).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_keeps_its_values(depth: int) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**depth
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(2, -1)
    rows = b"".join(b"\0" + bytes(np.packbits(row)) for row in bits)
    content = bytearray(bomb(8, 2, zlib.compress(rows)))
    content[24] = depth
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    assert (read_png(bytes(content), LIMITS) == values).all()


def test_ids_of_all_32_bits_arrive() -> None:
    ids = np.array([[0, 1, -1], [2**31 - 1, -(2**31), 26001]], dtype=np.int32)
    assert (read_instances(png(as_rgba(ids)), LIMITS) == ids).all()
    gray = np.array([[0, 65535, 33001]], dtype=np.uint16)
    assert (read_instances(png(gray), LIMITS) == gray).all()
    with pytest.raises(LabelError, match="3 channels"):
        read_instances(png(photograph()), LIMITS)


def jpeg_of(picture: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", **options)
    return content.getvalue()


def test_photographs_are_read_upright_and_reduced() -> None:
    picture = photograph()
    assert (read_photograph(png(picture), LIMITS) == picture).all()
    assert (read_photograph(png(np.dstack([picture, picture[..., :1]])), LIMITS) == picture).all(), "alpha is dropped"
    gray16 = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert (read_photograph(png(gray16), LIMITS) == (gray16 >> 8)[..., None]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_photograph(jpeg_of(picture, exif=exif), LIMITS).shape == (64, 32, 3)
    large = np.kron(np.array([[0, 200], [100, 50]], dtype=np.uint8), np.ones((200, 300), dtype=np.uint8))
    for content in (png(np.dstack([large] * 3)), jpeg_of(large), jpeg_of(large, exif=exif)):
        read = read_photograph(content, Limits(pixels=6000))
        assert 5000 < read.shape[0] * read.shape[1] <= 6000
        corners = sorted(int(read[y, x].mean()) for y in (3, -4) for x in (3, -4))
        assert np.abs(np.subtract(corners, [0, 50, 100, 200])).max() < 4
    palette = Image.fromarray(picture).quantize(8)
    content = io.BytesIO()
    palette.save(content, "PNG", transparency=bytes(range(8)))
    assert (read_photograph(content.getvalue(), LIMITS) == np.asarray(palette.convert("RGB"))).all()


def test_photographs_of_other_kinds_are_refused() -> None:
    for content, said in (
        (b"RIFF____WEBPVP8 ", "neither PNG nor JPEG"),
        (bomb(30_000, 30_000), "far too many pixels"),
        (bomb(9000, 9000), "9000 x 9000"),
        (jpeg_of(photograph())[:300], "damaged or cut off"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged or cut off"),
        (jpeg_of(photograph()) + b"\xff\xda" * 101, "very many scans"),
    ):
        with pytest.raises(DataError, match=said):
            read_photograph(content, LIMITS)


def test_spoilt_files_are_read_or_refused_never_worse() -> None:
    """Bytes changed by chance, with checksums mended, so that the damage reaches the decoders."""
    chance = random.Random(6)
    label, instance = scene()
    whole = [png(label.astype(np.uint16)), png(as_rgba(instance)), jpeg_of(photograph()), png(photograph()[:8])]
    outcomes: Counter[str] = Counter()
    for _ in range(400):
        content = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(min(len(content), 200))] = chance.randrange(256)
        mended = with_checksums(bytes(content))
        for read in (read_png, read_label, read_instances, read_photograph):
            try:
                outcomes[str(read(mended, LIMITS).dtype)] += 1
            except (DataError, LabelError):
                outcomes["refused"] += 1
    assert outcomes["refused"] > 100 and outcomes["uint8"] > 50


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, as far as its chunks can be told apart."""
    mended, start = bytearray(content), len(security.PNG_MAGIC)
    while content.startswith(security.PNG_MAGIC) and start + 12 <= len(mended):
        (length,) = struct.unpack(">I", mended[start : start + 4])
        end = start + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[start + 4 : end]))
        start = end + 4
    return bytes(mended)


# ---------------------------------------------------------------------------------------- while a photograph is computed


class Held:
    """Stands in for a Synthesizer that computes until it is let go."""

    def __init__(self, like: Synthesizer) -> None:
        self.like, self.begun, self.allowed = like, queue.Queue[int](), threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)

    def __call__(self, label: Any, instance: Any, style: Any, seed: int) -> Any:
        self.begun.put(seed)
        assert self.allowed.acquire(timeout=20)
        return self.like(label, instance, style, seed)


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
    computing = threading.Thread(target=renderer.render, args=scene())
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


# ------------------------------------------------------------------------------------------------------------- starting


class served:
    """The address at which an application is served, in a thread."""

    def __init__(self, app: FastAPI, limits: Limits | None = None) -> None:
        self.server, self.listening = server(app, limits), listen("127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]})

    def __enter__(self) -> str:
        self.thread.start()
        return url_of(self.listening).rstrip("/")

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.listening.close()
        assert not self.thread.is_alive()


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


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from gesso.cli import main; main()", "edit", *map(str, words), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "300", "PYTHONUNBUFFERED": "1"}
    environment |= {"BROWSER": f"{sys.executable} -c pass %s"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"The editor is at (http://\S+) ", line)
    assert found, line + process.stdout.read()
    return found[1]


def stopped(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    return rest


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
