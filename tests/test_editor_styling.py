"""The editor's endpoints around styles: modes, what is worn, photographs' styles, swatches, the library."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from edited import client, picture_of, png, said, save, scene_files
from gesso.checkpoints import load_model
from gesso.data import toy
from gesso.editor import library, styling, swatches
from gesso.editor.examples import Example, Loaded, collect
from gesso.editor.rendering import Renderer
from gesso.editor.wire import MaskWire
from gesso.errors import DataError
from gesso.synthesis.latents import between
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load
from styled import (
    CAR,
    CAR_MODES,
    PERSON,
    ROAD,
    SKY,
    SPACE,
    clusters,
    colour,
    mirrored,
    photograph,
    scene,
    write_styled_model,
)
from whole_styled import LATENT, write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def features(folder: Path) -> Synthesizer:
    """Its photograph shows the style of each object as a colour."""
    return Synthesizer(mirrored(load_model(write_styled_model(folder / "features.safetensors", styles=clusters()))))


@pytest.fixture(scope="module")
def web(features: Synthesizer) -> Iterator[TestClient]:
    with client(styling.router(Renderer(features))) as found:
        yield found


@pytest.fixture(scope="module")
def spade(folder: Path) -> Iterator[TestClient]:
    with client(styling.router(Renderer(load(write_spade_model(folder / "spade.safetensors"), "cpu")))) as found:
        yield found


def ask(web: TestClient, path: str, files: Any = None, **data: Any) -> Any:
    return web.post(f"/api/{path}", files=files or scene_files(*scene()), data=data)


def pixels(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


# -------------------------------------------------------------------------------------------------------------- modes


def test_an_object_is_shown_in_a_mode_and_cropped_to_it(web: TestClient) -> None:
    style = json.dumps({"instances": {"car:26002": 0, "car:999": 1}})  # the latter is hidden now
    for mode, vector in enumerate(CAR_MODES):
        found = pixels(ask(web, "mode", **{"class": "car", "id": 26001, "mode": mode, "style": style}))
        assert found.shape == (10 + 2 * 4, 16 + 4 + 4, 3), "its box, and 4 pixels around; the left border is 4 away"
        assert found[9, 10].tolist() == colour(vector)
        assert found[9, -1].tolist() == colour(CAR_MODES[0]), "the other car stays as it was chosen"


def test_a_whole_class_is_shown_in_a_mode(web: TestClient) -> None:
    found = pixels(ask(web, "mode", **{"class": "car", "mode": 2, "style": '{"instances": {"car:26001": 1}}'}))
    assert found[8 + 4, 20].tolist() == colour(CAR_MODES[2])
    assert found[8 + 4, 30].tolist() == colour(CAR_MODES[2])


def test_previews_of_modes_may_be_smaller(web: TestClient) -> None:
    whole, half = (
        pixels(ask(web, "mode", **{"class": "car", "id": 26001, "mode": 1, "scale": scale})) for scale in (1, 0.5)
    )
    assert abs(half.shape[0] - whole.shape[0] / 2) <= 1
    assert half[half.shape[0] // 2, half.shape[1] // 2].tolist() == colour(CAR_MODES[1])


def test_modes_that_cannot_be_shown_are_refused(web: TestClient) -> None:
    said(ask(web, "mode", **{"class": "car", "id": 26001, "mode": 4}), "its modes are 0..3")
    said(ask(web, "mode", **{"class": "sky", "mode": 0}), "no clusters")
    said(ask(web, "mode", **{"class": "tram", "mode": 0}), "no class 'tram'")
    said(ask(web, "mode", **{"class": "car", "id": 5, "mode": 0}), "does not show the object car:5", "hidden")
    said(ask(web, "mode", **{"class": "tree", "mode": 0}), "does not show tree")
    said(ask(web, "mode", **{"class": "car", "id": 26001, "mode": 0, "scale": 0.3}), "0.25 or 0.125")
    said(ask(web, "mode", **{"class": "car", "id": 26001, "mode": 0, "style": "{"}), "not JSON")
    said(ask(web, "mode", **{"class": "car", "id": 26001, "mode": 0, "style": '{"seed": 1e400}'}), "seed")
    assert ask(web, "mode", **{"class": "car", "id": 2**40, "mode": 0}).status_code == 422


def test_models_without_modes_say_so(spade: TestClient, folder: Path, tiny_model: Path) -> None:
    said(ask(spade, "mode", **{"class": "car", "mode": 0}), "one vector z")
    with client(styling.router(Renderer(load(tiny_model, "cpu")))) as plain:
        cases: dict[str, dict[str, Any]] = {
            "mode": {"class": "car", "mode": 0},
            "styles": {},
            "interpolate": {"first": "{}", "second": "{}", "t": 0},
        }
        for path, more in cases.items():
            said(ask(plain, path, **more), "no style")
    with client(styling.router(Renderer(load(write_pix2pix_model(folder / "p.safetensors"), "cpu")))) as noisy:
        assert ask(noisy, "styles", seed=5).json() == {"seed": 5}


# ---------------------------------------------------------------------------------------------------- what is worn


def test_what_everything_wears_is_a_style_that_holds_it(web: TestClient, features: Synthesizer) -> None:
    style = {"classes": {"car": 3}, "instances": {"car:26001": [0.25, 0.0, -1.0]}}
    worn = ask(web, "styles", style=json.dumps(style), seed=4).json()
    assert worn["instances"]["car:26001"] == [0.25, 0.0, -1.0]
    assert tuple(worn["instances"]["car:26002"]) == CAR_MODES[3]
    again = features(*scene(), Style.parse(worn), seed=99)
    assert np.array_equal(again, features(*scene(), Style.parse(style), seed=4))


def test_the_z_of_a_seed_is_a_style_that_holds_it(spade: TestClient) -> None:
    worn = ask(spade, "styles", seed=4).json()
    assert list(worn) == ["z"]
    assert len(worn["z"]) == LATENT
    assert ask(spade, "styles", style=json.dumps(worn), seed=9).json() == worn


def test_a_photograph_tells_the_style_of_its_objects(web: TestClient, features: Synthesizer) -> None:
    files = {**scene_files(*scene()), "photograph": ("p.png", png(photograph()))}
    found = ask(web, "encode", files).json()["instances"]
    assert found == {k: list(v) for k, v in features.encode(photograph(), *scene()).instances.items()}
    twice = save(Image.fromarray(photograph()).resize((128, 64)), "PNG")
    assert ask(web, "encode", {**files, "photograph": ("p.png", twice)}).json()["instances"].keys() == found.keys()
    square = save(Image.new("RGB", (64, 64)), "PNG")
    said(ask(web, "encode", {**files, "photograph": ("p.png", square)}), "64 x 64", "64 x 32")
    said(web.post("/api/encode", files={"photograph": ("p.png", png(photograph()))}), "layout too")
    said(ask(web, "encode", {**files, "photograph": ("p.png", b"text")}), "neither PNG nor JPEG")


def test_a_photograph_tells_its_z_without_a_layout(spade: TestClient, folder: Path) -> None:
    content = save(Image.fromarray(photograph()).resize((50, 70)), "JPEG")
    found = spade.post("/api/encode", files={"photograph": ("p.jpg", content)}).json()
    assert list(found) == ["z"]
    assert len(found["z"]) == LATENT
    bare = load(write_spade_model(folder / "bare.safetensors", encoder=False), "cpu")
    with client(styling.router(Renderer(bare))) as none:
        said(none.post("/api/encode", files={"photograph": ("p.jpg", content)}), "no image encoder")


def test_between_two_styles(web: TestClient, spade: TestClient) -> None:
    ends = {
        "first": '{"classes": {"car": 0}}',
        "second": '{"instances": {"car:26001": 1, "car:77": 2}, "classes": {"car": 0}}',
    }
    half = ask(web, "interpolate", **ends, t=0.5).json()["instances"]
    assert half["car:26002"] == pytest.approx(CAR_MODES[0], abs=1e-6)
    assert half["car:26001"] == pytest.approx(np.mean(CAR_MODES[:2], axis=0), abs=1e-6)
    first, second = (ask(spade, "styles", seed=seed).json() for seed in (1, 2))
    found = ask(spade, "interpolate", first=json.dumps(first), second=json.dumps(second), t=0.25).json()
    assert tuple(found["z"]) == between(first["z"], second["z"], 0.25)
    for t in (-0.1, 1.1, "nan", "x"):
        assert ask(spade, "interpolate", **ends, t=t).status_code == 422
    said(ask(spade, "interpolate", first="[]", second="{}", t=0), "first style")


@given(arrays.arrays(np.bool_, (12, 16)), st.sampled_from([1, 2, 4]))
@settings(max_examples=50, deadline=None)
def test_crops_hold_the_object(mask: np.ndarray, step: int) -> None:
    if not mask.any():
        return
    picture = np.repeat(mask[::step, ::step, None], 3, 2).astype(np.uint8)
    found = styling.cropped(picture, mask)
    assert found.size
    assert found.sum() == picture.sum(), "nothing of it is cut off"


# ----------------------------------------------------------------------------------------------------------- swatches


def test_the_largest_square_is_inside_and_none_is_larger() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        mask = np.kron(random.random((6, 8)) < 0.8, np.ones((8, 8), dtype=bool))
        found = swatches.largest_square(mask)
        sides = [n for n in range(1, 49) if any_square(mask, n)]
        if found is None:
            assert max(sides, default=0) < swatches.SMALLEST + 1
            continue
        top, left, side = found
        assert mask[top : top + side, left : left + side].all()
        assert mask[top : top + side, left : left + side].shape == (side, side)
        assert side in (max(sides), max(sides) - 1), "odd sides"


def any_square(mask: np.ndarray, side: int) -> bool:
    windows = (
        np.lib.stride_tricks.sliding_window_view(mask, (side, side)) if side <= min(mask.shape) else np.zeros((1, 1, 1))
    )
    return bool(windows.all((-1, -2)).any()) if windows.ndim == 4 else False


def wait_for(address: Any) -> Any:
    for _ in range(600):
        answer = address()
        if answer["ready"]:
            return answer
        time.sleep(0.05)
    raise AssertionError("it never got ready")


def test_every_class_gets_a_swatch_of_its_own_texture(features: Synthesizer) -> None:
    examples = collect(features)
    with client(swatches.router(Renderer(features), examples)) as web:
        answer = wait_for(lambda: web.get("/api/swatches").json())
    assert set(map(int, answer["swatches"])) >= set(range(len(SPACE)))
    car = picture_of(answer["swatches"][str(CAR)])
    assert car.shape == (swatches.SIDE, swatches.SIDE, 3)
    shown = {tuple(pixel) for pixel in car.reshape(-1, 3).tolist()}
    assert shown & {tuple(colour(mode)) for mode in CAR_MODES}
    sky = picture_of(answer["swatches"][str(SKY)])
    assert (sky == sky[0, 0]).all(), "nothing but sky"


def test_a_countable_class_is_shown_by_its_largest_object() -> None:
    loaded = flat((10, 20, 10, 40), (30, 42, 60, 75))
    found = swatches.largest_object(loaded.label == CAR, loaded.instance)
    assert found == (0, 10, 30), "around the first car"
    assert swatches.largest_object(loaded.label == PERSON, loaded.instance) is None
    thin = np.zeros((40, 50), dtype=bool)
    thin[:, 48] = True
    assert swatches.thickest_place(thin)[1:] == (40, 10), "as near as the border allows"
    assert swatches.thickest_place(thin[:, 45:])[2] == 5


def test_swatches_do_without_broken_examples(features: Synthesizer) -> None:
    def fails() -> Loaded:
        raise DataError("gone")

    with client(swatches.router(Renderer(features), [Example("a", fails)])) as web:
        assert wait_for(lambda: web.get("/api/swatches").json())["swatches"]


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA"), DataError("odd")])
def test_one_layout_that_cannot_be_rendered_does_not_end_all_swatches(
    features: Synthesizer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    renderer, examples = Renderer(features), collect(features)[:2]
    own, asked = renderer.now, []

    def fails_once(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise error
        return own(*arguments)

    monkeypatch.setattr(renderer, "now", fails_once)
    with client(swatches.router(renderer, examples)) as web:
        assert wait_for(lambda: web.get("/api/swatches").json())["swatches"]
    assert len(asked) > 1


def test_swatches_end_with_the_editor(features: Synthesizer) -> None:
    renderer = Renderer(features)
    renderer.close()
    with client(swatches.router(renderer, collect(features)[:2])) as web:
        assert wait_for(lambda: web.get("/api/swatches").json())["swatches"] == {}


def test_a_slow_model_is_asked_few_times(features: Synthesizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swatches, "ENOUGH", -1.0)
    with client(swatches.router(Renderer(features), collect(features))) as web:
        assert wait_for(lambda: web.get("/api/swatches").json())["swatches"] == {}


# ------------------------------------------------------------------------------------------------------------ library


def test_the_library_holds_whole_objects_of_different_shapes() -> None:
    examples = [Example(str(n), lambda n=n: scene_of_toy(n)) for n in range(6)]  # type: ignore[misc]
    with client(library.router(examples, SPACE)) as web:
        for _ in range(100):
            response = web.get("/api/library")
            if response.headers["X-Gesso-Ready"] == "true":
                break
        listed = response.json()
        assert len({one["class"] for one in listed}) >= 3
        for number, one in enumerate(listed):
            assert SPACE.classes[one["class"]].thing
            item = web.get(f"/api/library/{number}").json()
            assert (item["class"], item["width"], item["height"]) == (one["class"], one["width"], one["height"])
            mask = MaskWire(**{key: item[key] for key in ("x", "y", "width", "height", "mask")}).decode("it")
            assert mask is not None
            left, top, right, bottom = mask.box
            assert left > 0
            assert top > 0
            assert right < 128
            assert bottom < 64
            assert len(mask.parts()) >= 1
            looks = picture_of(one["thumbnail"])
            assert max(looks.shape[:2]) == library.THUMBNAIL
            assert looks.shape[2] == 4
        said(web.get(f"/api/library/{len(listed)}"), f"it has {len(listed)}")


def scene_of_toy(number: int) -> Loaded:
    made = toy.scene(3, number, 64, 128)
    return Loaded(made.label.astype(np.int32), made.instance, made.image)


def flat(*boxes: tuple[int, int, int, int]) -> Loaded:
    """Cars on a road: top, bottom, left, right of each."""
    label, instance = np.full((60, 80), ROAD, np.int32), np.full((60, 80), ROAD, np.int32)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        label[top:bottom, left:right], instance[top:bottom, left:right] = CAR, 1000 + number
    return Loaded(label, instance)


def test_what_is_cut_small_or_alike_is_left_out() -> None:
    def kept(*boxes: tuple[int, int, int, int]) -> list[tuple[int, int]]:
        found = library.Library([Example("a", lambda: flat(*boxes))], SPACE)
        items = found.items()
        for _ in range(100):
            if found.complete:
                break
            items = found.items()
        return [item.mask.cells.shape for item in items]

    assert kept((10, 20, 10, 40)) == [(10, 30)]
    assert kept((0, 10, 10, 40), (10, 20, 0, 30), (50, 60, 10, 30), (20, 40, 60, 80)) == [], "cut by the border"
    assert kept((10, 13, 10, 20)) == [], "small"
    assert kept((10, 20, 10, 40), (30, 42, 10, 45)) == [(10, 30)], "alike"
    assert kept((10, 20, 10, 40), (30, 50, 10, 25)) == [(10, 30), (20, 15)]
    assert kept((10, 30, 10, 40), (18, 22, 5, 70)) == [], "in two pieces, and behind"
    assert kept((10, 30, 10, 40), (20, 45, 20, 60)) == [(25, 40)], "behind a nearer one"


def test_the_library_is_collected_when_it_is_asked_for_and_once() -> None:
    loads: list[int] = []

    def counted() -> Loaded:
        loads.append(threading.get_ident())
        return flat((10, 20, 10, 40))

    router = library.router([Example("a", counted)], SPACE)
    with client(router) as web:
        assert loads == []
        assert [len(web.get("/api/library").json()) for _ in range(3)] == [1, 1, 1]
    assert len(loads) == 1
    assert loads[0] != threading.get_ident()
