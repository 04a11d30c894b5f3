"""The editor's server: what it renders, what it says of the model, and the page."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from gesso import load
from gesso.editor.rendering import encode_png, encode_quickly, reduced
from gesso.editor.server import Project, create_app
from gesso.errors import ConfigError
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, read_record, save_png
from served import LIMITS, LOCAL, fields, pixels, png
from styled import LEFT, RIGHT, SPACE, scene
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")


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
    for scale, step in ((0.5, 2), (0.25, 4), (0.125, 8)):
        answer = client.post("/api/render", **fields(scale=scale))
        part = np.s_[step // 2 :: step, step // 2 :: step]
        assert (pixels(answer.content) == synthesizer(label[part], instance[part])).all()
        (tmp_path / "p.png").write_bytes(answer.content)
        record = read_record(tmp_path / "p.png")
        assert record is not None and record["scale"] == scale


def test_any_map_keeps_a_pixel_when_reduced() -> None:
    for shape in ((1, 1), (1, 5), (2, 3), (7, 9)):
        for scale in (1, 0.5, 0.25, 0.125):
            assert reduced(np.zeros(shape, np.int32), scale).size
    assert (reduced(np.arange(8)[None], 0.25) == [[2, 6]]).all()
    with pytest.raises(ConfigError, match=r"scale is 0.3; give 1, 0.5, 0.25 or 0.125"):
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
        "/api/retouch",
        "/api/retouch/original",
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
