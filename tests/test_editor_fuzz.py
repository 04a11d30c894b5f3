"""The editor's server survives whatever it is sent: every operation of its own schema, its page's files, its WebSocket.

Asked over real connections, in this process, so that it is seen which files it touches. Every request comes from a seed, which a
failure names.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from torch import Tensor
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fuzzed import STYLES, Maker, Request, Target, form, sent, targets
from gesso.data.layouts import Listing
from gesso.editor import live
from gesso.editor.guard import FAILED
from gesso.editor.projects import save
from gesso.editor.rendering import Renderer
from gesso.editor.security import Limits
from gesso.editor.server import Project, create_app, static_files
from gesso.editor.wire import DocumentWire
from gesso.evaluate.faithfulness import faithfulness
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import Synthesizer
from hostile import Files, changed_json, chunked, damaged, whole_document
from served import png, served
from styled import SPACE, photograph
from touched import Watch

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Starlette leaves the parts of a form that breaks off to the garbage collector, which closes them.
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning"),
]

LIMITS = Limits(pixels=128 * 128, bytes=2 * 2**20, photograph=2**18)
SECRET = "what-must-never-be-read"
SOON = 20.0  # seconds that an answer may take; one here takes some milliseconds, but other programs may run too
QUICK, MANY = 9, 2000  # requests to each operation
NO_HTTP = (
    400,
    b"Invalid HTTP request received.",
)  # what uvicorn says by itself, to methods that do not exist for instance
watch = Watch()


class Reds(PhotoSegmenter):
    """Finds what the photograph's red says."""

    def __init__(self) -> None:
        super().__init__("reds", "nothing", SPACE, "0" * 64)

    def _read(self, pixels: Tensor) -> Tensor:
        return pixels[0].long() % (len(SPACE) + 1)


@dataclass(frozen=True)
class Editor:
    """A whole editor: with data, a segmenter and a project.

    Attributes:
        address: Where it is served.
        targets: The operations of its schema.
        page: Contents of its files by address.
        maker: Of requests.
        files: What they upload.
        allowed: Files and folders that it may touch.
    """

    address: str
    targets: list[Target]
    page: dict[str, bytes]
    maker: Maker
    files: Files
    allowed: tuple[Path, ...]


@pytest.fixture(scope="module")
def editor(
    synthesizer: Synthesizer, listing: Listing, model_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Editor]:
    canary = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    canary.write_bytes(png(photograph()) + SECRET.encode())
    content = save(Renderer(synthesizer, LIMITS), DocumentWire.parse(whole_document()), png(photograph()))
    app = create_app(
        synthesizer,
        listing=listing,
        segmenter=Reds(),
        faithfulness=faithfulness,
        project=Project("p.zip", content),
        limits=LIMITS,
    )
    page = {f"/{path}": content for path, content in static_files(files("gesso.editor").joinpath("static")).items()}
    page |= {"/": page.pop("/index.html"), "/favicon.ico": page["/icon.svg"]}
    made = Files.of(content)
    with served(app, LIMITS) as address:
        yield Editor(address, targets(app.openapi()), page, Maker(made, canary), made, (model_file, Path(listing.root)))


@contextmanager
def unharmed(editor: Editor) -> Iterator[None]:
    """Inside, nothing is touched that the editor does not own; after it, the editor still answers."""
    with watch.over(*editor.allowed) as touched:
        yield
        asked(editor, Request("GET", "/api/model"), "afterwards", 200)
    assert not touched, f"{len(touched)} times, first {touched[0]}"


def asked(editor: Editor, request: Request, seed: str, wanted: int | None = None) -> int:
    """Send a request, and see that the answer is one that may come; returns its status."""
    what = f"request {seed!r}: {request}"
    began = perf_counter()
    try:
        status, headers, body = sent(editor.address, request, SOON)
    except TimeoutError:
        pytest.fail(f"no answer in {SOON:g} s to {what}")
    except (OSError, ValueError) as error:
        pytest.fail(f"{error!r} instead of an answer to {what}")
    assert perf_counter() - began < SOON, what
    assert status < 500, f"{status} {body[:500]!r} to {what}"
    assert wanted in (None, status), f"{status} {body[:500]!r} to {what}"
    assert SECRET.encode() not in body and b"root:" not in body, what
    if 300 <= status < 400:
        assert headers["location"].startswith(f"{editor.address}/"), what
    if status >= 400 and request.method != "HEAD" and (status, body) != NO_HTTP:
        is_sentence(headers, body, what)
    return status


def is_sentence(headers: dict[str, str], body: bytes, what: str) -> None:
    said = json.loads(body) if headers.get("content-type") == "application/json" else None
    assert isinstance(said, dict) and list(said) == ["detail"], f"{body[:500]!r} to {what}"
    sentence = said["detail"]
    assert isinstance(sentence, str) and 0 < len(sentence) <= live.LONGEST, f"{body[:500]!r} to {what}"
    assert "\n" not in sentence and "Traceback" not in sentence, f"{sentence!r} to {what}"


# ------------------------------------------------------------------------------------------------------- what is sent


def operate(editor: Editor, target: Target, count: int) -> Counter[int]:
    """First what the operation is for, then what it must survive."""
    found = Counter([asked(editor, editor.maker.plain(target), f"{target} plain", 200)])
    for number in range(1, count):
        seed = f"{target} {number}"
        found[asked(editor, editor.maker.hostile(target, random.Random(seed)), seed)] += 1
    return found


def browse(editor: Editor, count: int) -> None:
    """Ask for the page's files, and for others: nothing is found but what is on the list."""
    listed = {*editor.page, *(target.path for target in editor.targets), "/api/openapi.json"}
    for number in range(count):
        seed = f"page {number}"
        request = editor.maker.page(set(editor.page), random.Random(seed))
        status = asked(editor, request, seed)
        if status == 200:
            assert request.path.partition("?")[0] in listed, f"there should be nothing at {request}"
    for path, content in editor.page.items():
        status, _, body = sent(editor.address, Request("GET", path), SOON)
        assert (status, body) == (200, content), path


def converse(editor: Editor, count: int) -> Counter[str]:
    """Send frames over a WebSocket, one by one: each is answered, or the connection closed for a reason that is ours."""
    found: Counter[str] = Counter()
    number = 0
    while number < count:
        address = editor.address.replace("http", "ws", 1) + "/api/live"
        with connect(address, max_size=None, proxy=None, open_timeout=SOON) as connection:
            while number < count:
                outcome = spoken(connection, editor, f"frame {number}" if number else "plain")
                found[outcome] += 1
                number += 1
                if outcome == "closed":
                    break
    return found


def spoken(connection: ClientConnection, editor: Editor, seed: str) -> str:
    message = frame(editor.files, random.Random(seed)) if seed != "plain" else whole_frame(editor.files)
    what = f"{seed!r}: {message[:1500]!r}"
    try:
        connection.send(message)
        answer = connection.recv(timeout=SOON)
    except TimeoutError:
        pytest.fail(f"no answer in {SOON:g} s to {what}")
    except ConnectionClosed as error:
        too_large = len(message) > LIMITS.bytes + live.MOST_HEADER  # the connection may break while it is still sent
        assert too_large or (error.rcvd is not None and error.rcvd.code != FAILED), f"{error} after {what}"
        return "closed"
    assert isinstance(answer, bytes), what
    header = json.loads(live.unpack(answer)[0])
    assert header.get("error") != live.UNEXPECTED, f"{header} to {what}"
    if "error" in header:
        is_sentence({"content-type": "application/json"}, json.dumps({"detail": header["error"]}).encode(), what)
    return "refused" if "error" in header else "shown"


def whole_frame(uploads: Files) -> bytes:
    label, instance = uploads.whole["label"][0], uploads.whole["instance"][0]
    return live.pack({"request": 1, "seed": 2, "bytes": [len(label), len(instance)]}, label + instance)


def frame(uploads: Files, chance: random.Random) -> bytes | str:
    """A message that must be survived."""
    maps = [chance.choice(uploads.whole[name]) for name in ("label", "instance")]
    spoil = chance.randrange(3)
    if spoil < 2 and chance.random() < 0.6:
        maps[spoil] = chance.choice((damaged(maps[spoil], chance), chance.choice(uploads.hostile)))
    header: dict[str, Any] = {"request": chance.randrange(2**53), "seed": 2, "bytes": [len(one) for one in maps]}
    if chance.random() < 0.7:
        header |= {"style": {}, "scale": chance.choice((1, 0.5, 0.25, 0.125)), "preview": chance.random() < 0.7}
    if chance.random() < 0.4:
        header = json.loads(changed_json(json.dumps(header).encode(), chance))
    head = json.dumps(header).encode()
    if chance.random() < 0.3:
        text = chance.choice(STYLES)
        head = head.replace(b"{", b'{"style": ' + (text or '""').encode() + b", ", 1)
    how, content = chance.randrange(12), b"".join(maps)
    if how == 0:
        return chance.choice(("", "text", "[" * 1000, "\0"))
    if how == 1:
        return damaged(struct.pack("<I", len(head)) + head + content, chance)
    if how == 2:
        length = chance.choice((0, 1, len(head) - 1, len(head) + 1, 2**31, 2**32 - 1))
        return struct.pack("<I", length) + head + content
    if how == 3:
        deep = chance.choice((b"[" * 10**5, b'{"request":' * 10**4, b"9" * 10**5, b"\xff" * 99, b"{}", b"null", b""))
        return struct.pack("<I", len(deep)) + deep + content
    if how == 4 and chance.random() < 0.1:
        return bytes(LIMITS.bytes + live.MOST_HEADER + 99)
    return struct.pack("<I", len(head)) + head + content


def interrupt(editor: Editor, count: int) -> None:
    """Hang up in the middle, send what is no HTTP, promise more than comes: the server answers in its way, or hangs up."""
    host, port = editor.address.removeprefix("http://").split(":")
    posts = [target for target in editor.targets if target.fields]
    for number in range(count):
        chance = random.Random(f"interrupted {number}")
        request = editor.maker.hostile(chance.choice(posts), chance)
        content = request.wire(f"{host}:{port}")
        cut = content[: chance.randrange(len(content) + 1)]
        noise = damaged(content[:300], chance) + b"\r\n\r\n"
        longer = Request(request.method, "/api/render", request.body, request.headers, len(request.body) + 10**5)
        with socket.create_connection((host, int(port)), timeout=SOON) as connection:
            try:
                connection.sendall(chance.choice((cut, cut, noise, longer.wire(host))))
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(200)
            except TimeoutError:
                pytest.fail(f"interrupted {number}: the server holds a connection whose client has hung up")
            except OSError:  # it was the server that hung up
                continue
        assert not answer.startswith(b"HTTP/1.1 5"), f"interrupted {number}: {answer!r} to {cut[:900]!r}"


# ------------------------------------------------------------------------------------------------------------ the tests


def test_hostile_requests_are_answered_in_a_sentence_and_touch_no_file(editor: Editor) -> None:
    """A few of everything; `test_thousands_of_hostile_requests` sends more."""
    with unharmed(editor):
        for target in editor.targets:
            operate(editor, target, QUICK)
        browse(editor, 2 * QUICK)
        spoken_of = converse(editor, 2 * QUICK)
        interrupt(editor, QUICK)
    assert spoken_of["shown"] >= 1 and spoken_of["refused"] >= 1


@pytest.mark.slow
def test_thousands_of_hostile_requests(editor: Editor) -> None:
    with unharmed(editor):
        for target in editor.targets:
            began = perf_counter()
            found = operate(editor, target, MANY)
            print(f"{target}: {dict(sorted(found.items()))} in {perf_counter() - began:.0f} s", flush=True)
            assert not target.fields or (found[200] > MANY // 100 and found[422] > MANY // 10), "both are reached"
        browse(editor, MANY)
        print(converse(editor, MANY), flush=True)
        interrupt(editor, MANY)


@pytest.mark.parametrize("exif", [b"XX\0*", b"MM\0*\0\0", b"MM\0*\0\0\0\x08\xff\xff"], ids=["kind", "short", "lying"])
def test_maps_with_damaged_exif_data_are_refused(editor: Editor, exif: bytes) -> None:
    """Pillow reads them when it is asked how the picture stands, long after it was decoded."""
    content = chunked(editor.files.whole["file"][0], b"eXIf", exif)
    for path, names in (("/api/open/labels", ["file"]), ("/api/open/instances", ["label", "file"])):
        parts = [Maker.part(name, content, "a.png") for name in names]
        asked(editor, form("POST", path, parts), path, 422)


def test_the_schema_names_every_operation(editor: Editor) -> None:
    """What is not in the schema is not fuzzed."""
    paths = {target.path for target in editor.targets}
    assert len(editor.targets) >= 20 and {"/api/render", "/api/project", "/api/library/{number}"} <= paths
    assert {name for target in editor.targets for name in target.fields} >= {"label", "style", "document", "class", "t"}


def test_files_elsewhere_are_seen_when_they_are_touched(tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    (own / "a").write_text("a")
    other.write_text("b")
    with watch.over(own) as touched:
        (own / "a").read_text()
        Path(np.__file__).read_bytes()
        with tempfile.TemporaryFile() as file:
            file.write(b"c")
        assert touched == []
        (own / ".." / "other").read_text()
        (own / "a").write_text("d")
        list(tmp_path.iterdir())
    other.read_text()
    folder = tmp_path.resolve()
    assert touched == [f"open {folder / 'other'}", f"open {folder / 'own' / 'a'}", f"os.listdir {folder}"]
