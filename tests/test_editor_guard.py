"""Who may ask the editor's server, and how much it takes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from gesso.editor import security
from gesso.editor.guard import HEADERS, TOKEN_HEADER
from gesso.editor.server import create_app
from gesso.synthesis.synthesizer import Synthesizer
from served import LIMITS, LOCAL, as_rgba, bomb, fields, png
from styled import photograph, scene

pytestmark = pytest.mark.usefixtures("one_thread")


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


def refusal(client: TestClient, expected: int = 422, **sent: Any) -> str:
    answer = client.post("/api/render", **sent)
    assert answer.status_code == expected, answer.text
    said = answer.json()["detail"]
    assert isinstance(said, str) and "\n" not in said
    return said


def with_label(content: bytes) -> dict[str, Any]:
    return {"files": {"label": ("l.png", content)}}


# ------------------------------------------------------------------------------------------------------ what is taken


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
