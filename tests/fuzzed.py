"""Hostile requests to the editor, made by chance from its own OpenAPI schema.

Everything comes from one `random.Random`, so that a request can be made again by its seed.
"""

from __future__ import annotations

import io
import json
import random
import re
import socket
import zipfile
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gesso.editor.originals import Sent
from gesso.synthesis.style import Style
from hostile import Files, changed_json, damaged, zipped

Random = random.Random
BOUNDARY = "gesso0fuzz"
HUGE = 2_000_000  # digits, brackets, letters: what a careless reader does not survive

NUMBERS = (
    *"0 1 2 3 0.5 0.25 -1 -0 7.5 1e3 255 26001 65536 1e400 -1e999 nan -inf Infinity 0x10 1_000 ٣ ７ true null []".split(),
    *(str(2**31), str(-(2**31)), str(2**53), str(2**63), str(2**64), "9" * 400, "9" * 5000),
    *("", " 7 ", "1;2", "--1", "\0", "1\n2"),
)
WORDS = (
    *"road car sky person (ignored) Road car:26001 ../../etc/passwd /etc/passwd ünï漢字🚗 %2e%2e%2f {{7*7}}".split(),
    *"${jndi:x} <script> __class__ true false 1 no".split(),
    *("", " ", "no such class", "\0", "a\0b", "\r\n\r\n", "\u202e", "'; DROP TABLE styles;--", "a" * 199, "b" * 5000),
)
STYLES = (
    *("", "{}", "null", "nul", "[]", "7", "{", '"road"', "\ufeff{}", "1" * 5000),
    *('{"seed": 3}', '{"seed": -1}', '{"seed": 1e30}', '{"seed": 9223372036854775808}', '{"seed": "1"}'),
    *(
        '{"classes": {"road": 1}}',
        '{"classes": {"car": [0.1, 0.2, 0.3]}}',
        '{"classes": {"road": 99999999999999999999}}',
    ),
    *('{"classes": {"car": [1e400, 0, 0]}}', '{"classes": {"car": [NaN, Infinity, 0]}}', '{"classes": {"car": []}}'),
    *('{"classes": null}', '{"classes": {"\\ud800": 1}}', '{"classes": {"__proto__": 1}}', '{"unknown": 1}'),
    *('{"instances": {"car:26001": 2, "26002": [0.5, -0.5, 0]}}', '{"instances": {"car:26001": 2, "26001": 1}}'),
    *(
        '{"instances": {"\\u0000": 1}}',
        '{"instances": {"26001": {"a": 1}}}',
        '{"instances": {"car:9999999999999999": 1}}',
    ),
    *('{"instances": {"' + "9" * 5000 + '": 1}}', '{"noise": true}', '{"z": [0, 1, 2]}', '{"z": 1}'),
    *("[" * 20_000, '{"classes":' * 5_000, '{"classes": {"car": ' + "[" * 900 + "]" * 900 + "}}", '"' + "a" * 20_000),
)
SEGMENTS = (
    *".. ../.. ..%2f..%2f..%2fetc%2fpasswd %2e%2e/%2e%2e/etc/passwd ....//....//etc/passwd %00 -1 1.5 0x0 null".split(),
    *"..%5c..%5cwindows%5cwin.ini %252e%252e%252fetc%252fpasswd %c0%ae%c0%ae/etc/passwd /etc/passwd 1e400".split(),
    *"%2fetc%2fpasswd file:///etc/passwd %F0%9F%9A%97 %ff%fe ~root . a;b=c * 0%00.png index.html%00".split(),
    *("C:%5cboot.ini", "proc/self/environ", "", "0", "1", "999999", "9" * 400, "9" * 5000),
)
ENDINGS = ("/", "?", "?a=b&" + "c" * 9000, "/..", "//", "#x", "?token=x", "%00")
PAGE = ("/", "/index.html", "/main.js", "/editor.css", "/icon.svg", "/favicon.ico", "/net/", "/model")
NAMES = (
    *"label.png ../../../etc/passwd /etc/passwd ..\\..\\x ünï漢字.png con . one.png %2e%2e%2fone one/../two.png".split(),
    *'quote\\".png a;b=c.png \u202egnp.exe -rf $(id)'.split(),
    *("", "a\0b.png", "a.png\0", "x" * 3000),
)
KINDS = ("application/octet-stream", "image/png", "text/html", "multipart/form-data", "", "image/../../x", "a" * 500)
HEADERS = (
    (("Range", "bytes=0-99999999999999999999"),),
    (("Range", "bytes=" + ",".join(["0-1"] * 500)),),
    (("Accept", "\xff" * 200), ("Accept-Encoding", "gzip;q=nan")),
    (("Content-Type", "multipart/form-data"),),
    (("Cookie", "a" * 8000),),
    (("If-None-Match", '"../../etc/passwd"'), ("If-Modified-Since", "never")),
    (("X-Forwarded-For", "../../etc/passwd"), ("X-Original-URL", "/etc/passwd"), ("X-Gesso-Token", "é")),
    (("Origin", "http://evil.example"),),
    (("Expect", "100-continue"),),
)


@dataclass(frozen=True)
class Request:
    """One HTTP request, as it goes over the wire.

    Attributes:
        method: As GET.
        path: With the query, encoded.
        body: Whatever follows the headers.
        headers: Beside Host, Connection and Content-Length.
        length: What Content-Length says; None says the truth, -1 nothing.
    """

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: int | None = None

    def wire(self, host: str) -> bytes:
        said = len(self.body) if self.length is None else self.length
        lengths = [("Content-Length", str(said))] if said >= 0 and (self.body or said) else []
        lines = [("Host", host), ("Connection", "close"), *lengths, *self.headers]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + self.body

    def __str__(self) -> str:
        return f"{self.method} {self.path[:200]} {self.headers!r:.300} {len(self.body)} bytes: {self.body[:1500]!r}"


def sent(address: str, request: Request, seconds: float) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in small letters) and body of the answer.

    Raises:
        TimeoutError: It did not come.
    """
    host = address.removeprefix("http://")
    name, port = host.split(":")
    with socket.create_connection((name, int(port)), timeout=seconds) as connection:
        try:
            connection.sendall(request.wire(host))
        except (BrokenPipeError, ConnectionResetError):  # refused before everything was sent: the answer is there
            pass
        answer = HTTPResponse(connection, method=request.method)
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


# ------------------------------------------------------------------------------------------------------------ requests


@dataclass(frozen=True)
class Target:
    """One operation of the schema.

    Attributes:
        method: As GET.
        path: With names in braces.
        fields: Schemas of the fields of its form, by name.
        required: Names of those that must be there.
    """

    method: str
    path: str
    fields: dict[str, dict[str, Any]]
    required: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def targets(schema: dict[str, Any]) -> list[Target]:
    """Every operation of an OpenAPI schema."""
    found = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {"": {"schema": {}}})
            (form,) = (one["schema"] for one in content.values())
            if "$ref" in form:
                form = schema["components"]["schemas"][form["$ref"].rsplit("/", 1)[-1]]
            found.append(Target(method.upper(), path, form.get("properties", {}), tuple(form.get("required", ()))))
    return found


def kind_of(schema: dict[str, Any]) -> str:
    """integer, number, boolean, string, or file."""
    plain = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    is_file = "contentMediaType" in plain or plain.get("format") == "binary"
    return "file" if is_file else str(plain.get("type", "string"))


PLAIN = {
    "class": "car",
    "t": "0.5",
    "scale": "1",
    "mode": "1",
    "seed": "3",
    "id": "26001",
    "keep": "false",
    "belongs": "true",
    "shown": "false",
    "margin": "0.06",
    "nearest": "true",
}


class Maker:
    """Makes requests.

    Args:
        files: What is uploaded.
        canary: A file that must never be opened; its path is asked for in many ways.
    """

    def __init__(self, files: Files, canary: Path) -> None:
        self._files = files
        here = quote(str(canary))
        self._segments = (
            *SEGMENTS,
            str(canary),
            here.replace("/", "%2f"),
            "/".join([".."] * 12) + here,
            f"file://{here}",
        )

    def plain(self, target: Target) -> Request:
        """What the operation is for: it succeeds."""
        parts = [
            self.part(name, self._usual(target, name), "x.png" if kind_of(schema) == "file" else None)
            for name, schema in target.fields.items()
        ]
        path = re.sub(r"\{\w+\}", "0", target.path)
        return form(target.method, path, parts) if parts else Request(target.method, path)

    def _usual(self, target: Target, name: str) -> bytes:
        if kind_of(target.fields[name]) == "file":
            if target.path == "/api/project/open":
                return self._files.project
            return self._whole(target, name)[0]
        if (target.path, name) == ("/api/retouch", "original"):
            return self._held().encode()
        return self._files.document if name in ("document", "opened") else PLAIN.get(name, "{}").encode()

    def _held(self) -> str:
        """What a photograph is called that was sent plainly."""
        style = Style(seed=int(PLAIN["seed"])).model_dump(mode="json")
        return Sent(self._files.whole["photograph"][0], self._files.document, json.dumps(style)).name

    def _whole(self, target: Target, name: str) -> tuple[bytes, ...]:
        """Files as such a field wants them."""
        if name == "document":
            return (self._files.document,)
        kind = "instance" if name == "instances" or (target.path, name) == ("/api/open/instances", "file") else name
        return self._files.whole.get(kind, self._files.whole["photograph"])

    def hostile(self, target: Target, chance: Random) -> Request:
        """One that it must survive."""
        how = chance.random()
        path = re.sub(r"\{\w+\}", lambda _: chance.choice(self._segments), target.path)
        if how < 0.05:
            method = chance.choice(("DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE", "GET", "POST", "FOO"))
            return Request(method, path, bytes(chance.randrange(50)))
        if how < 0.12:
            path += chance.choice((*ENDINGS, f"/{chance.choice(self._segments)}"))
        if not target.fields:
            body = bytes(chance.randrange(200)) if chance.random() < 0.3 else b""
            return Request(target.method, path, body, chance.choice(((), *HEADERS)))
        return self._form(target, path, chance)

    def _form(self, target: Target, path: str, chance: Random) -> Request:
        parts, usual = [], chance.choice((0.4, 0.7, 0.9))
        for name, schema in target.fields.items():
            presence = chance.random()
            if presence < (0.06 if name in target.required else 0.3):
                continue
            parts += [
                self._field(target, name, kind_of(schema), usual, chance) for _ in range(2 if presence > 0.96 else 1)
            ]
        if chance.random() < 0.1:
            parts.append(self.part(chance.choice(WORDS), chance.choice(WORDS).encode(), None))
        chance.shuffle(parts)
        return (
            spoilt(form(target.method, path, parts), chance)
            if chance.random() < 0.25
            else form(target.method, path, parts)
        )

    def _field(self, target: Target, name: str, kind: str, usual: float, chance: Random) -> bytes:
        if chance.random() < 0.04:  # a file where text belongs, or the other way round
            kind = "string" if kind == "file" else "file"
        is_named = kind == "file" or (name == "document" and chance.random() < 0.5)
        filename = (chance.choice(NAMES) if chance.random() < 0.4 else "one.png") if is_named else None
        if chance.random() < usual:
            return self.part(name, self._usual(target, name), filename)
        return self.part(name, self._value(target, name, kind, chance), filename, chance.choice(KINDS))

    def _value(self, target: Target, name: str, kind: str, chance: Random) -> bytes:
        if kind == "file":
            return self._upload(target, name, chance)
        if name == "document":
            return (
                changed_json(self._files.document, chance) if chance.random() < 0.8 else chance.choice(STYLES).encode()
            )
        if name in ("style", "first", "second"):
            return chance.choice((*STYLES, *WORDS)).encode()
        usual = NUMBERS if kind in ("integer", "number", "boolean") else WORDS
        return chance.choice(usual if chance.random() < 0.8 else (*NUMBERS, *WORDS, *STYLES)).encode()

    def _upload(self, target: Target, name: str, chance: Random) -> bytes:
        whole = self._whole(target, name)
        if target.path == "/api/project/open" and chance.random() < 0.6:
            return self._project(chance)
        how = chance.random()
        if how < 0.3:
            return chance.choice(self._files.hostile)
        if how < 0.7:
            return damaged(chance.choice(whole), chance)
        return chance.choice(whole if how < 0.85 else chance.choice(list(self._files.whole.values())))

    def _project(self, chance: Random) -> bytes:
        """A project of which one entry was changed."""
        with zipfile.ZipFile(io.BytesIO(self._files.project)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        name = chance.choice(["document.json", "document.json", "project.json", *entries])
        if name.endswith(".json"):
            entries[name] = changed_json(entries[name], chance)
        else:
            entries[name] = damaged(entries[name], chance)
        if chance.random() < 0.1:
            entries[chance.choice(NAMES).replace("\0", "") or "x"] = b"x"
        content = zipped(entries)
        return damaged(content, chance) if chance.random() < 0.3 else content

    @staticmethod
    def part(name: str, content: bytes, filename: str | None, kind: str = "") -> bytes:
        """A part of a form, as it goes over the wire."""
        said = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        head = f"Content-Disposition: {said}" + (f"\r\nContent-Type: {kind}" if kind else "")
        return head.encode() + b"\r\n\r\n" + content

    def page(self, known: set[str], chance: Random) -> Request:
        """A request for one of the page's files, or for one that is none of its."""
        start = chance.choice((*PAGE, *sorted(known)))
        path = chance.choice((start, f"{start}/{chance.choice(self._segments)}", f"/{chance.choice(self._segments)}"))
        method = chance.choice(("GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE"))
        return Request(method, path.replace("///", "//"), headers=chance.choice(((), *HEADERS)))


def form(method: str, path: str, parts: list[bytes]) -> Request:
    body = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    return Request(method, path, body + f"--{BOUNDARY}--\r\n".encode(), (kind,))


def spoilt(request: Request, chance: Random) -> Request:
    """The same request, cut off, mislabelled, or damaged."""
    how, body = chance.randrange(8), request.body
    if how == 0:
        return replace(request, body=body[: chance.randrange(len(body) + 1)])
    if how == 1:
        kinds = (
            "application/json",
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "",
            "\xe9/x",
        )
        return replace(request, headers=(("Content-Type", chance.choice(kinds)),))
    if how == 2:
        kinds = ("other", '"', "a" * 500, f"{BOUNDARY}; boundary=x", f'"{BOUNDARY}', "\xff", "")
        return replace(request, headers=(("Content-Type", f"multipart/form-data; boundary={chance.choice(kinds)}"),))
    if how == 3:
        text = chance.choice(("[" * HUGE, '{"label":' * 50_000, "null", '{"label": "x"}', "9" * HUGE))
        return replace(request, body=text.encode(), headers=(("Content-Type", "application/json"),))
    if how == 4:
        parts = [b'Content-Disposition: form-data; name="style"\r\n\r\n{}'] * chance.choice((50, 1500))
        return form(request.method, request.path, parts)
    if how == 5:
        lines = b"X-Header: a\r\n" * chance.choice((20, 5000)) + b'Content-Disposition: form-data; name="label"\r\n\r\n'
        return form(request.method, request.path, [lines, b"Content-Disposition: \xff\r\n\r\n", b"\r\n\r\n", b""])
    if how == 6:
        return replace(request, body=chance.choice((b"", b"label=1&style=" + b"%" * 5000, body + bytes(HUGE * 3 // 2))))
    changed = bytearray(body)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(min(len(changed), 600))] = chance.randrange(256)
    return replace(request, body=bytes(changed))
