"""The editor's endpoints around photographs that are kept: what is put into them, what stays, what is refused, what is held."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from gesso.checkpoints import load_model
from gesso.editor import originals, retouching
from gesso.editor.originals import Shelf
from gesso.editor.rendering import GONE, Abandoned, Renderer
from gesso.editor.security import Limits
from gesso.editor.server import create_app
from gesso.editor.wire import DocumentWire
from gesso.synthesis.editing import Layout, ObjectKey, duplicate_object, move_object, relabel_object, remove_object
from gesso.synthesis.retouching import read_original, retouch_original
from gesso.synthesis.synthesizer import Synthesizer, read_record
from served import LOCAL, bomb, jpeg_of, pixels, png
from styled import CAR, LEFT, RIGHT, SIZE, SKY, SPACE, clusters, mirrored, scene, write_styled_model
from whole_styled import LATENT, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = (80, 160)  # the photograph's own size


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    """Its photograph shows the style of each object as a colour."""
    path = tmp_path_factory.mktemp("models") / "features.safetensors"
    return Synthesizer(mirrored(load_model(write_styled_model(path, styles=clusters()))))


@pytest.fixture(scope="module")
def app(features: Synthesizer) -> Any:
    return create_app(features, examples=[], limits=Limits(bytes=2**20, retouched=2**15))


@pytest.fixture(scope="module")
def web(app: Any) -> Iterator[TestClient]:
    with TestClient(app, base_url=LOCAL) as client:
        yield client


def photograph(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(60, 190, (*OWN, 3), dtype=np.uint8)


def layout() -> Layout:
    return Layout.of(*scene(), SPACE)


def wire(made: Layout) -> bytes:
    return DocumentWire.of(made).json_bytes()


STYLE = {
    "seed": 3,
    "instances": {f"car:{LEFT}": [0.1, 0.2, 0.3], f"car:{RIGHT}": [-0.4, 0.0, 0.5]},
    "classes": {"road": 1},
}


def held(web: TestClient, content: bytes, document: bytes | None = None, style: Any = STYLE) -> Any:
    files = {"photograph": ("p.png", content), "document": ("d.json", document or wire(layout()))}
    return web.post("/api/retouch/original", files=files, data={"style": json.dumps(style)})


def retouch(web: TestClient, name: str, made: Layout, style: Any = STYLE, **more: Any) -> Any:
    data = {"original": name, "style": json.dumps(style), **{key: str(value) for key, value in more.items()}}
    return web.post("/api/retouch", files={"document": ("d.json", wire(made))}, data=data)


def refused(answer: Any, *words: str) -> None:
    assert answer.status_code == 422, answer.text
    for word in words:
        assert word in answer.json()["detail"], answer.text


def region(layout: Layout, id: int) -> Any:
    """Where an object is seen, at the photograph's size."""
    cells = (layout.label == CAR) & (layout.instance == id)
    return np.asarray(Image.fromarray(cells).resize(OWN[::-1], Image.Resampling.NEAREST))


def near(cells: Any, pixels: int) -> Any:
    rows, columns = np.nonzero(cells)
    found = np.zeros_like(cells)
    found[
        max(0, rows.min() - pixels) : rows.max() + pixels + 1,
        max(0, columns.min() - pixels) : columns.max() + pixels + 1,
    ] = 1
    return found


# ----------------------------------------------------------------------------------------------------- what is put in


def test_only_what_was_edited_is_another(web: TestClient) -> None:
    content = png(photograph())
    answer = held(web, content).json()
    assert (answer["width"], answer["height"]) == OWN[::-1]
    response = retouch(web, answer["original"], remove_object(layout(), ObjectKey(CAR, RIGHT)))
    assert response.status_code == 200, response.text
    picture, where = pixels(response.content), region(layout(), RIGHT)
    assert picture.shape == (*OWN, 3)
    beyond = ~near(where, round(0.06 * OWN[0]) + 1)
    assert (picture == photograph())[beyond].all(), "its own bytes"
    assert (picture != photograph())[where].any(-1).mean() > 0.9
    told = json.loads(response.headers[retouching.TOLD])
    assert told["touched"] == pytest.approx((picture != photograph()).any(-1).mean(), abs=0.02)
    without = retouch(web, answer["original"], remove_object(layout(), ObjectKey(CAR, RIGHT)), margin=0)
    assert (pixels(without.content) == photograph())[~where].all(), "nothing around it"


def test_it_is_what_python_makes(web: TestClient, features: Synthesizer, tmp_path: Path) -> None:
    label, instance = scene()
    original = read_original(photograph(), features, labels=label, instances=instance, size=SIZE)
    edited = remove_object(original.layout, ObjectKey(CAR, RIGHT))
    expected = retouch_original(original, edited, margin=5)
    style = original.style.model_dump(mode="json") | {"seed": 0}
    name = held(web, png(photograph()), style=style).json()["original"]
    answer = retouch(web, name, edited, style=style, margin=5 / OWN[0])
    assert np.array_equal(pixels(answer.content), expected.picture)
    (tmp_path / "made.png").write_bytes(answer.content)
    record = read_record(tmp_path / "made.png")
    assert record is not None
    assert record["retouched"] == {**expected.record["retouched"], "edits": "a layout"}
    assert record["model"] == features.hash


def test_without_an_edit_it_is_the_photograph(web: TestClient) -> None:
    name = held(web, png(photograph(1))).json()["original"]
    answer = retouch(web, name, layout())
    assert np.array_equal(pixels(answer.content), photograph(1))
    assert json.loads(answer.headers[retouching.TOLD])["touched"] == 0


def test_a_style_alone_is_an_edit_of_what_wears_it(web: TestClient) -> None:
    name = held(web, png(photograph())).json()["original"]
    other = {**STYLE, "instances": {**STYLE["instances"], f"car:{LEFT}": [0.9, 0.9, -0.9]}}
    picture = pixels(retouch(web, name, layout(), style=other).content)
    where = region(layout(), LEFT)
    assert (picture == photograph())[~where].all()
    assert (picture != photograph())[where].any(-1).mean() > 0.5
    again = {**STYLE, "seed": 4}  # what is left to chance changes, what was chosen does not
    picture = pixels(retouch(web, name, layout(), style=again).content)
    assert (picture == photograph())[region(layout(), LEFT) | region(layout(), RIGHT)].all()


def test_moved_and_copied_cars_take_their_colours_along(web: TestClient) -> None:
    red = np.full((*OWN, 3), 90, np.uint8)
    red[region(layout(), LEFT)] = (200, 30, 30)
    name = held(web, png(red)).json()["original"]
    moved = move_object(layout(), ObjectKey(CAR, LEFT), 0, -10)
    picture = pixels(retouch(web, name, moved).content)
    there = picture[int(9 * 2.5) : int(13 * 2.5), int(8 * 2.5) : int(16 * 2.5)].reshape(-1, 3).astype(int)
    assert np.abs(np.median(there, axis=0) - (200, 30, 30)).max() < 25
    doubled, copy = duplicate_object(layout(), ObjectKey(CAR, LEFT), 0, -11)
    new = next(layer for layer in doubled.layers if layer.key == copy)
    style = {**STYLE, "instances": {**STYLE["instances"], f"car:{new.written_id}": STYLE["instances"][f"car:{LEFT}"]}}
    picture = pixels(retouch(web, name, doubled, style=style).content)
    there = picture[int(5 * 2.5) : int(10 * 2.5), int(8 * 2.5) : int(16 * 2.5)].reshape(-1, 3).astype(int)
    assert np.abs(np.median(there, axis=0) - (200, 30, 30)).max() < 25


def test_gray_photographs_stay_gray_and_colours_keep_their_profile(web: TestClient) -> None:
    gray = png(photograph()[..., 0])
    name = held(web, gray).json()["original"]
    picture = pixels(retouch(web, name, remove_object(layout(), ObjectKey(CAR, RIGHT))).content)
    assert (picture == picture[..., :1]).all()
    profile = b"of a camera" * 20
    for content in (png(photograph(), icc_profile=profile), jpeg_of(photograph(), icc_profile=profile)):
        name = held(web, content).json()["original"]
        answer = retouch(web, name, remove_object(layout(), ObjectKey(CAR, RIGHT)))
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.info["icc_profile"] == profile


def test_large_photographs_are_shown_smaller_and_saved_whole(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retouching, "SHOWN", 40 * 80)
    name = held(web, png(photograph(2))).json()["original"]
    edited = remove_object(layout(), ObjectKey(CAR, RIGHT))
    assert pixels(retouch(web, name, edited, shown=True).content).shape == (40, 80, 3)
    assert pixels(retouch(web, name, edited).content).shape == (*OWN, 3)


def test_a_photograph_turned_by_its_camera_is_upright(web: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    turned = np.rot90(photograph(), 1)
    name = held(web, png(turned, exif=exif)).json()
    assert (name["width"], name["height"]) == OWN[::-1]
    assert np.array_equal(pixels(retouch(web, name["original"], layout()).content), photograph())


def test_one_style_for_the_whole_picture_is_no_edit(tmp_path: Path) -> None:
    with TestClient(
        create_app(Synthesizer(load_model(write_spade_model(tmp_path / "z.safetensors"))), examples=[]), base_url=LOCAL
    ) as web:
        label = scene()[0]
        made = Layout.of(np.where(label == len(SPACE), SKY, label), scene()[1], SPACE)
        name = held(web, png(photograph()), wire(made), {"z": [0.0] * LATENT}).json()["original"]
        answer = retouch(web, name, made, style={"z": [0.5] * LATENT})
        assert np.array_equal(pixels(answer.content), photograph())
        key = next(layer.key for layer in made.layers if layer.key.class_index == CAR)
        answer = retouch(web, name, remove_object(made, key), style={"z": [0.5] * LATENT})
        assert 0 < json.loads(answer.headers[retouching.TOLD])["touched"] < 0.5


# ---------------------------------------------------------------------------------------------------- what is refused


def test_photographs_that_cannot_be_kept_say_why_and_open_all_the_same(web: TestClient, features: Synthesizer) -> None:
    clear = np.dstack([photograph(), np.full(OWN, 255, np.uint8)])
    assert held(web, png(clear)).status_code == 200, "alpha that hides nothing"
    clear[3, 4, 3] = 0
    large = np.zeros((200, 200, 3), np.uint8)
    palette = io.BytesIO()
    Image.fromarray(photograph()).quantize(16).save(palette, "PNG", transparency=3)
    for content, *words in (
        (png(clear), "transparent", "background"),
        (palette.getvalue(), "transparent"),
        (png(large), "200 x 200", "megapixels", "Reduce"),
    ):
        refused(held(web, content), *words, "Whole picture rendered")
        opened = web.post("/api/open/photograph", files={"file": ("p.png", content)})
        assert opened.status_code == 200
        assert all(word in opened.json()["fault"] for word in words)
    assert web.post("/api/open/photograph", files={"file": ("p.png", png(photograph()))}).json()["fault"] is None
    for content in (b"", b"GIF89a", png(photograph())[:300], bomb(2**15, 2**15), jpeg_of(photograph())[:200]):
        refused(held(web, content), "photograph")


def test_documents_that_do_not_belong_are_refused(web: TestClient) -> None:
    name = held(web, png(photograph())).json()["original"]
    other = Layout.of(*(one[:, :32] for one in scene()), SPACE)
    refused(retouch(web, name, other), "32 x 32", "64 x 32")
    refused(retouch(web, name, layout(), style={"classes": {"car": 99}}), "Mode 99")
    refused(held(web, png(photograph()), b"{}"), "document")
    refused(held(web, png(photograph()), style={"classes": {"boat": 1}}), "boat")
    for data in (
        {"original": "../../etc/passwd"},
        {"original": name, "margin": "0.9"},
        {"original": name, "margin": "nan"},
    ):
        answer = web.post("/api/retouch", files={"document": ("d.json", wire(layout()))}, data=data)
        assert answer.status_code == 422


def test_when_everything_changed_it_says_so(web: TestClient) -> None:
    name = held(web, png(photograph())).json()["original"]
    whole = layout()
    for layer in whole.layers:
        whole = remove_object(whole, layer.key)
    sky = Layout.of(np.full(SIZE, SKY), np.full(SIZE, 77), SPACE)
    refused(retouch(web, name, sky), "Every pixel", "whole picture")
    assert retouch(web, name, whole).status_code == 200, "all objects removed leaves the surroundings"
    assert retouch(web, name, relabel_object(layout(), ObjectKey(CAR, LEFT), "tree")[0]).status_code == 200


# -------------------------------------------------------------------------------------------------------- what is held


def test_what_is_not_held_has_to_be_sent_again(web: TestClient) -> None:
    answer = retouch(web, "0" * 64, layout())
    assert answer.status_code == 404
    assert "send it again" in answer.json()["detail"]


def test_eight_clients_take_no_more_room_than_is_allowed(
    features: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = [png(photograph(seed)) for seed in range(8)]
    renderer = Renderer(features, Limits(bytes=len(content[0])))
    monkeypatch.setattr(retouching, "READY", 200_000)
    retoucher = retouching.Retoucher(renderer)
    sent = [originals.Sent(one, wire(layout()), json.dumps(STYLE)) for one in content]
    edited = remove_object(layout(), ObjectKey(CAR, RIGHT))
    for one in sent:
        retoucher.hold(one)
        assert retoucher._sent.held <= retouching.HELD * len(content[0])
        assert retoucher._ready.held <= 200_000
    with pytest.raises(retouching.Unheld):
        retoucher.retouch(sent[0].name, edited, None, 0.05, True)
    first, again = (retoucher.retouch(sent[-1].name, edited, None, 0.05, True) for _ in range(2))
    assert np.array_equal(first.picture, again.picture)


def test_a_shelf_keeps_what_was_used_last() -> None:
    shelf = Shelf[str](10)
    for name in "abc":
        shelf.put(name, name.upper(), 4)
    assert [shelf.get(name) for name in "abc"] == [None, "B", "C"]
    assert shelf.get("b") == "B"
    shelf.put("d", "D", 4)
    assert [shelf.get(name) for name in "bcd"] == ["B", None, "D"]
    shelf.put("large", "!", 99)
    assert (shelf.get("large"), shelf.held) == ("!", 99), "one stays, however large"


def test_who_has_left_is_not_served(features: Synthesizer) -> None:
    renderer = Renderer(features)
    retoucher = retouching.Retoucher(renderer)
    sent = originals.Sent(png(photograph()), wire(layout()), json.dumps(STYLE))
    retoucher.hold(sent)
    gone = threading.Event()
    gone.set()
    token = GONE.set(gone)
    try:
        with pytest.raises(Abandoned):
            retoucher.retouch(sent.name, remove_object(layout(), ObjectKey(CAR, RIGHT)), None, 0.05, True)
    finally:
        GONE.reset(token)
