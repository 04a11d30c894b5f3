"""Projects of the editor: they open again exactly, and whatever else comes as one is refused before it is unpacked."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from edited import client, layout_of, picture_of, png, said
from gesso.checkpoints import load_model, save_model
from gesso.data import readers
from gesso.editor import archive, projects
from gesso.editor.rendering import Renderer
from gesso.editor.security import Limits
from gesso.editor.wire import DocumentWire, StylesWire
from gesso.errors import DataError
from gesso.labels import LabelSpace
from gesso.synthesis.editing import Layout, move_object
from gesso.synthesis.synthesizer import Synthesizer, load
from served import bomb, jpeg_of
from styled import CAR, SPACE, clusters, photograph, scene, write_styled_model
from whole_styled import LATENT, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
Zip = dict[str, bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def synth(folder: Path) -> Synthesizer:
    return load(write_styled_model(folder / "features.safetensors", styles=clusters()), "cpu")


@pytest.fixture(scope="module")
def web(synth: Synthesizer) -> Iterator[TestClient]:
    with client(projects.router(Renderer(synth))) as found:
        yield found


def document() -> DocumentWire:
    """With everything that a document can have."""
    layout = move_object(Layout.of(*scene(), SPACE), (CAR, 26001), -12, 3)
    styles = StylesWire(seed=2**40 + 1, classes={"car": 2, "road": (0.1, -0.2, 0.30000000000000004)})
    made = DocumentWire.of(layout, "Straße 1", styles)
    changes: list[dict[str, Any]] = [
        {"style": 1, "pinned": True},
        {"hidden": True},
        {"locked": True, "style": (0.5, 0.0, -1.0)},
    ]
    objects = (one.model_copy(update=change) for one, change in zip(made.objects, changes, strict=True))
    return made.model_copy(update={"objects": tuple(objects), "used_ids": (*made.used_ids, -(2**31), 2**31 - 1)})


def saved(
    web: TestClient,
    made: DocumentWire | None = None,
    picture: bytes | None = None,
    as_file: bool = False,
    source: bytes | None = None,
) -> bytes:
    content = (made or document()).json_bytes()
    given = {"photograph": picture, "source": source}
    files = {name: ("picture", one) for name, one in given.items() if one is not None}
    if as_file:
        response = web.post("/api/project/save", files={**files, "document": ("document.json", content)})
    else:
        response = web.post(
            "/api/project/save", data={"document": content.decode()}, files=files or {"none": ("", b"")}
        )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/zip"
    return response.content


def opened(web: TestClient, content: bytes) -> Any:
    return web.post("/api/project/open", files={"file": ("street.zip", content)})


def unzip(content: bytes) -> Zip:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        return {name: found.read(name) for name in found.namelist()}


# -------------------------------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("as_file", [False, True])
def test_a_project_opens_again_exactly(web: TestClient, as_file: bool) -> None:
    picture = png(photograph())
    answer = opened(web, saved(web, picture=picture, as_file=as_file)).json()
    assert answer["sameModel"] is True
    assert answer["document"] == json.loads(document().json_bytes())
    assert np.array_equal(picture_of(answer["photograph"]), photograph())
    assert answer["sentence"] == "The project was made with this model."
    assert opened(web, saved(web)).json()["photograph"] is None


SOURCES = {"source.png": png(photograph(5)), "source.jpg": jpeg_of(photograph(5), progressive=True)}


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_layout_came_with_keeps_its_own_bytes(web: TestClient, name: str) -> None:
    project = saved(web, picture=png(photograph()), source=SOURCES[name])
    assert unzip(project)[name] == SOURCES[name]
    assert name in unzip(project)["README.txt"].decode()
    with zipfile.ZipFile(io.BytesIO(project)) as found:
        assert found.getinfo(name).compress_type == zipfile.ZIP_STORED, "a picture does not shrink"
    head, _, body = opened(web, project).json()["source"].partition(",")
    assert head == {"source.png": "data:image/png;base64", "source.jpg": "data:image/jpeg;base64"}[name]
    assert base64.b64decode(body) == SOURCES[name]


def test_a_project_that_came_with_nothing_says_so(web: TestClient) -> None:
    assert not SOURCES.keys() & unzip(saved(web)).keys()
    assert opened(web, saved(web)).json()["source"] is None


def test_equal_projects_are_equal_files(web: TestClient) -> None:
    assert saved(web) == saved(web, as_file=True)


def test_what_lies_beside_the_document_is_for_other_programs(
    web: TestClient, tmp_path: Path, synth: Synthesizer
) -> None:
    found = unzip(saved(web, picture=png(photograph())))
    assert set(found) == {
        *("README.txt", "project.json", "document.json", "label.png", "instance.png", "colours.png", "photograph.png")
    }
    layout = document().layout(SPACE)
    for name in ("label.png", "instance.png", "colours.png"):
        (tmp_path / name).write_bytes(found[name])
    assert np.array_equal(readers.read_label(tmp_path / "label.png", SPACE), layout.label)
    assert np.array_equal(readers.read_label(tmp_path / "colours.png", SPACE), layout.label)
    assert np.array_equal(readers.read_instance(tmp_path / "instance.png"), layout.instance)
    about = json.loads(found["project.json"])
    assert (about["format_version"], about["model"]) == (1, synth.hash)


def test_ids_beyond_16_bits_are_saved_as_bytes(web: TestClient) -> None:
    label, instance = scene(left=-5, right=2**30)
    found = unzip(saved(web, DocumentWire.of(Layout.of(label, instance, SPACE))))
    rgba = np.asarray(Image.open(io.BytesIO(found["instance.png"])))
    assert np.array_equal(np.ascontiguousarray(rgba).view("<i4")[..., 0], instance)


def test_a_document_of_more_than_a_megabyte_is_saved(web: TestClient) -> None:
    random = np.random.default_rng(0)
    label, instance = random.integers(0, 4, (400, 600)), random.integers(0, 2**30, (400, 600))
    space_stuff = DocumentWire.of(Layout(SPACE, label.astype(np.int32), instance.astype(np.int32), (), frozenset()))
    assert len(space_stuff.json_bytes()) > 2**20
    answer = opened(web, saved(web, space_stuff)).json()
    assert answer["document"] == json.loads(space_stuff.json_bytes())


def test_saving_refuses_what_could_not_be_opened(web: TestClient) -> None:
    def refused(content: str, **files: Any) -> str:
        return said(web.post("/api/project/save", data={"document": content}, files=files or {"x": ("", b"")}))

    whole = json.loads(document().json_bytes())
    assert "not one that gesso writes" in refused("{}")
    assert "32000 x 32000" in refused(json.dumps({**whole, "width": 32000, "height": 32000}))
    assert "ground" in refused(json.dumps({**whole, "ground": {"label": "AAAA", "instance": "AAAA"}}))
    assert "no PNG" in refused(json.dumps(whole), photograph=("p.png", b"text"))
    assert "came with is neither PNG nor JPEG" in refused(json.dumps(whole), source=("p.png", b"text"))
    assert "came with is 30000 x 1 pixels" in refused(json.dumps(whole), source=("p.png", bomb(30_000, 1)))
    said(web.post("/api/project/save", files={"photograph": ("p.png", b"text")}), "lacks the field document")


@pytest.mark.long
def noisy(side: int) -> DocumentWire:
    """A document whose maps hardly shrink."""
    random = np.random.default_rng(0)
    label, instance = random.integers(0, 4, (side, side)), random.integers(0, 2**30, (side, side))
    return DocumentWire.of(Layout(SPACE, label.astype(np.int32), instance.astype(np.int32), (), frozenset()))


@pytest.mark.long
def test_what_is_saved_can_be_opened_whatever_its_size(synth: Synthesizer) -> None:
    """Maps for people are left out first, then the photograph, then the source; what is too large by itself is refused."""
    made, picture = noisy(200), png(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    document_alone, maps = len(made.json_bytes()), {"label.png", "instance.png", "colours.png"}
    renderer, outcomes = Renderer(synth), []
    whole = len(projects.save(renderer, made, picture, source=picture))
    for most in range(document_alone * 7 // 10, whole + 2 * projects.ENVELOPE, 10_000):
        limits = Limits(bytes=most)
        try:
            content = projects.save(renderer, made, picture, limits, picture)
        except DataError as error:
            assert "opens again with up to" in str(error)
            outcomes.append("refused")
            continue
        assert len(content) <= most - projects.ENVELOPE
        answer = projects.open_project(renderer, content, limits)
        assert answer.document == made
        found = unzip(content)
        assert (answer.photograph is None) is ("photograph.png" not in found)
        assert (answer.source is None) is ("source.png" not in found)
        missing = sorted({*maps, "photograph.png", "source.png"} - set(found))
        assert all(name in found["README.txt"].decode().partition("Left out")[2] for name in missing)
        outcomes.append(f"without {', '.join(name for name in missing if name not in maps) or len(missing)}")
    steps = ["refused", "without photograph.png, source.png", "without photograph.png", "without 3", "without 0"]
    assert list(dict.fromkeys(outcomes)) == steps


def test_the_answer_names_what_was_left_out_of_a_project(synth: Synthesizer) -> None:
    made = noisy(200)
    limits = Limits(bytes=len(made.json_bytes()) + projects.ENVELOPE)
    with client(projects.router(Renderer(synth, limits))) as web:
        answer = web.post("/api/project/save", files={"document": ("d.json", made.json_bytes())})
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Gesso-Left-Out"] == "label.png, instance.png, colours.png"
        assert opened(web, answer.content).status_code == 200


# ------------------------------------------------------------------------------------------------------- other models


def test_choices_that_the_same_model_does_not_know_are_left_out_too(web: TestClient) -> None:
    styles = StylesWire(seed=3, classes={"car": 2, "unicorn": 1})
    answer = opened(web, saved(web, document().model_copy(update={"styles": styles}))).json()
    assert answer["sameModel"] is True
    assert answer["document"]["styles"]["classes"] == {"car": 2}
    assert "1 choices of style that it does not know were left out" in answer["sentence"]


def other(synth: Synthesizer, **changes: Any) -> TestClient:
    return client(projects.router(Renderer(synth)))


def test_a_project_of_another_model_opens_and_says_so(web: TestClient, folder: Path) -> None:
    spade = load(write_spade_model(folder / "spade.safetensors"), "cpu")
    with other(spade) as elsewhere:
        answer = opened(elsewhere, saved(web)).json()
        assert answer["sameModel"] is False
        assert "another model (pix2pixhd" in answer["sentence"]
        assert "4 choices of style" in answer["sentence"]
        layout = layout_of(answer["document"])
        assert np.array_equal(layout.label, document().layout(SPACE).label)
        assert answer["document"]["styles"] == {"seed": 2**40 + 1, "classes": {}, "z": None, "noise": None}
        assert {one["style"] for one in answer["document"]["objects"]} == {None}
        own = document().model_copy(update={"styles": StylesWire(z=(0.5,) * LATENT, noise=True), "objects": ()})
        back = opened(web, saved(elsewhere, own)).json()
        assert back["document"]["styles"]["z"] is None
        assert "2 choices" in back["sentence"]


def test_choices_that_another_model_knows_too_are_kept(web: TestClient, folder: Path) -> None:
    few = {key: value[:2] for key, value in clusters().items()}
    with other(load(write_styled_model(folder / "few.safetensors", styles=few, boundary=False), "cpu")) as elsewhere:
        answer = opened(elsewhere, saved(web)).json()
        assert answer["document"]["styles"]["classes"] == {"road": [0.1, -0.2, 0.30000000000000004]}
        assert [one["style"] for one in answer["document"]["objects"]] == [1, None, [0.5, 0.0, -1.0]]
        assert "1 choices of style" in answer["sentence"]


def renamed(folder: Path, change: Callable[[list[Any]], list[Any]]) -> Synthesizer:
    """The model with other classes."""
    model = load_model(folder / "features.safetensors")
    classes = change(list(SPACE.classes))
    space = LabelSpace(name="other", classes=tuple(classes), ignore=SPACE.ignore)
    info = model.info.model_copy(update={"label_space": space})
    save_model(folder / "renamed.safetensors", model.networks, info, {})
    return load(folder / "renamed.safetensors", "cpu")


def test_classes_are_matched_by_name(web: TestClient, folder: Path) -> None:
    backwards = renamed(folder, lambda classes: classes[::-1])
    stranger = Synthesizer(load_model(folder / "renamed.safetensors"))
    stranger.hash = "0" * 64
    assert backwards.label_space
    with other(stranger) as elsewhere:
        answer = opened(elsewhere, saved(web)).json()
        found = DocumentWire.parse(json.dumps(answer["document"])).layout(backwards.label_space)
        expected = document().layout(SPACE).label
        table = np.array([backwards.label_space.names.index(name) for name in SPACE.names] + [len(SPACE)])
        assert np.array_equal(found.label, table[expected])


def test_classes_that_the_model_does_not_have_are_named(web: TestClient, folder: Path) -> None:
    renamed(folder, lambda classes: [c.model_copy(update={"name": "van"}) if c.name == "car" else c for c in classes])
    stranger = Synthesizer(load_model(folder / "renamed.safetensors"))
    stranger.hash = "0" * 64
    with other(stranger) as elsewhere:
        said(opened(elsewhere, saved(web)), "label space toy", "does not have: car")


# ------------------------------------------------------------------------------------------------------- hostile files


def zipped(entries: list[tuple[str, bytes]], **options: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file.getvalue()


def changed(found: Zip, **about: Any) -> bytes:
    edited = {**json.loads(found["project.json"]), **about}
    return zipped(
        [*((k, v) for k, v in found.items() if k != "project.json"), ("project.json", json.dumps(edited).encode())]
    )


def test_zips_that_are_no_projects_are_refused(web: TestClient) -> None:
    found = unzip(saved(web))
    entries = list(found.items())
    for name in ("../x", "/etc/passwd", "a/b.png", "..\\x", "C:\\x", "x.js", "DOCUMENT.JSON"):
        assert "allowed are" in said(opened(web, zipped([*entries, (name, b"evil")]))), name
    said(opened(web, zipped(entries[:1])), "lacks project.json")
    said(opened(web, zipped([])), "no zip")
    said(opened(web, b""), "no zip")
    said(opened(web, png(photograph())), "no zip")
    said(opened(web, saved(web)[:-30]), "cut off")
    place = saved(web).index(b"document.json") + 100
    said(opened(web, saved(web)[:place] + b"x" * 50 + saved(web)[place + 50 :]), "damaged")
    said(opened(web, zipped([(f"{n}.txt", b"x") for n in range(500)])), "500 entries")
    said(opened(web, zipped(entries, compression=zipfile.ZIP_LZMA)), "unusual way")


def test_two_entries_of_one_name_are_refused(web: TestClient) -> None:
    entries = list(unzip(saved(web)).items())
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zipped([*entries, entries[0]])
    said(opened(web, content), "two entries of one name")


def test_bombs_are_refused_before_they_are_unpacked(web: TestClient) -> None:
    entries = [(n, c) for n, c in unzip(saved(web)).items() if n != "document.json"]
    bomb = zipped([*entries, ("document.json", bytes(2**26))])
    assert len(bomb) < 2**20
    said(opened(web, bomb), "67108864 bytes", "allowed are")
    lying = bytearray(bomb)
    for magic, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):  # says that it unpacks to 100 bytes
        place = lying.rfind(magic)
        lying[place + offset : place + offset + 4] = struct.pack("<I", 100)
    detail = said(opened(web, bytes(lying)))
    assert "67108864" not in detail


def test_a_long_list_of_entries_is_not_even_read(monkeypatch: pytest.MonkeyPatch, web: TestClient) -> None:
    many = zipped([(f"{n}", b"") for n in range(3000)])

    def never(*arguments: Any) -> None:
        raise AssertionError("the list was read")

    monkeypatch.setattr(archive.zipfile, "ZipFile", never)
    said(opened(web, many), "3000 entries")


def test_encrypted_entries_are_refused(web: TestClient) -> None:
    content = bytearray(saved(web))
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = content.find(magic)
        content[place + offset] |= 1
    said(opened(web, bytes(content)), "encrypted")


@pytest.mark.parametrize("version", [2, 0, "1", None, [1]])
def test_other_format_versions_are_refused(web: TestClient, version: Any) -> None:
    said(opened(web, changed(unzip(saved(web)), format_version=version)), "format version", "reads version 1")


def test_what_a_project_says_of_itself_is_checked(web: TestClient) -> None:
    found = unzip(saved(web))
    said(opened(web, changed(found, label_space={"name": "x"})), "label_space")
    said(opened(web, changed(found, more=1)), "more")
    for content in (b"", b"[]", b"{", b"\xff", b"[" * 10**5):
        entries = [(name, content if name == "project.json" else c) for name, c in found.items()]
        said(opened(web, zipped(entries)), "project.json")
        entries = [(name, content if name == "document.json" else c) for name, c in found.items()]
        said(opened(web, zipped(entries)), "project's document")


def test_a_photograph_in_a_project_is_checked(web: TestClient) -> None:
    for content in (b"text", png(photograph())[:-60]):
        entries = [*unzip(saved(web)).items(), ("photograph.png", content)]
        said(opened(web, zipped(entries)), "photograph in the project")


def apng(content: bytes) -> bytes:
    """A PNG that says to be an animation, after its header."""
    control = b"acTL" + struct.pack(">II", 2, 0)
    return content[:33] + struct.pack(">I", 8) + control + struct.pack(">I", zlib.crc32(control)) + content[33:]


HOSTILE_SOURCES = {
    "text": ("source.png", b"<svg onload=alert(1)>", "no PNG"),
    "a GIF": ("source.jpg", b"GIF89a" + bytes(50), "neither PNG nor JPEG"),
    "another name": ("source.png", SOURCES["source.jpg"], "no PNG"),
    "another name too": ("source.jpg", SOURCES["source.png"], "no JPG"),
    "cut off": ("source.png", SOURCES["source.png"][:-60], "damaged or cut off"),
    "cut off too": ("source.jpg", SOURCES["source.jpg"][:80], "damaged or cut off"),
    "a bomb": ("source.png", bomb(9000, 9000, zlib.compress(bytes(9001 * 9000))), "9000 x 9000 pixels"),
    "a wide one": ("source.png", bomb(30_000, 1), "30000 x 1 pixels"),
    "an animation": ("source.png", apng(SOURCES["source.png"]), "animation"),
    "many scans": ("source.jpg", SOURCES["source.jpg"] + b"\xff\xda" * 200, "very many scans"),
}


@pytest.mark.parametrize("kind", HOSTILE_SOURCES)
def test_what_a_layout_came_with_is_checked_like_an_upload(web: TestClient, kind: str) -> None:
    name, content, words = HOSTILE_SOURCES[kind]
    entries = [*unzip(saved(web)).items(), (name, content)]
    said(opened(web, zipped(entries)), f"{name} in the project", words)


def test_a_layout_came_with_one_photograph(web: TestClient) -> None:
    said(opened(web, zipped([*unzip(saved(web)).items(), *SOURCES.items()])), "source.png and source.jpg")


def test_a_source_that_unpacks_to_more_than_an_upload_is_not_unpacked(synth: Synthesizer) -> None:
    limits = Limits(bytes=2**16)
    with client(projects.router(Renderer(synth, limits))) as web:
        bloated = zipped([*unzip(saved(web)).items(), ("source.png", SOURCES["source.png"] + bytes(2**17))])
        assert len(bloated) < limits.bytes
        said(opened(web, bloated), "source.png in the project would be", "allowed are 65536")


def test_every_cut_or_flipped_project_is_refused_or_opens(web: TestClient) -> None:
    content, random = saved(web, picture=png(photograph()), source=SOURCES["source.png"]), np.random.default_rng(4)
    for _ in range(30):
        place = int(random.integers(len(content)))
        flipped = content[:place] + bytes([content[place] ^ (1 << int(random.integers(8)))]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            assert opened(web, damaged).status_code in (200, 422)
