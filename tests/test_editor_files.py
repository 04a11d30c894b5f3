"""Opening files in the editor: label maps in every form, instance maps, photographs, examples; and what is none of these."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from edited import client, layout_of, picture_of, png, said, save, scene_files
from gesso.data import layouts, readers, toy
from gesso.data.spaces import PUBLISHED, published
from gesso.editor import opening
from gesso.editor.examples import Example, Loaded, collect, comfortable_size, horizon, stripes, trained_size
from gesso.editor.label_files import read_instance_file, read_label_file
from gesso.editor.opening import document_of
from gesso.editor.rendering import Closing, Renderer
from gesso.editor.security import Limits
from gesso.editor.wire import DocumentWire
from gesso.errors import DataError, GessoError, LabelError
from gesso.labels import colourise, components
from gesso.synthesis.synthesizer import Synthesizer, load
from styled import CAR, ROAD, SIZE, SKY, SPACE, photograph, scene, write_scenes, write_styled_model

pytestmark = pytest.mark.usefixtures("one_thread")
LIMITS = Limits()


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    return load(write_styled_model(tmp_path_factory.mktemp("model") / "m.safetensors"), "cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> layouts.Listing:
    return layouts.find(write_scenes(tmp_path_factory.mktemp("data") / "scenes"), "val")


@pytest.fixture(scope="module")
def web(synth: Synthesizer, dataset: layouts.Listing) -> Iterator[TestClient]:
    with client(opening.router(Renderer(synth), collect(synth, dataset))) as found:
        yield found


def values() -> np.ndarray:
    return SPACE.to_values(scene()[0]).astype(np.uint8)


def palette_file(array: np.ndarray, colours: np.ndarray) -> bytes:
    image = Image.frombytes("P", array.shape[::-1], array.tobytes())
    image.putpalette(colours.astype(np.uint8).tobytes())
    return save(image, "PNG")


def opened(web: TestClient, content: bytes, instances: bytes | None = None, **data: Any) -> Any:
    files = {
        "file": ("street.png", content),
        **({"instances": ("ids.png", instances)} if instances is not None else {}),
    }
    return web.post("/api/open/labels", files=files, data=data)


# --------------------------------------------------------------------------------------------------------- label maps


def test_label_maps_open_by_values_palette_and_colours(web: TestClient) -> None:
    label, _ = scene()
    shuffled = np.random.default_rng(1).permutation(len(SPACE) + 1)
    palette = np.zeros((256, 3))
    palette[shuffled] = SPACE.colours
    forms = {
        "ids": [png(values()), png(values().astype(np.uint16)), png(np.repeat(values()[..., None], 3, 2))],
        "palette": [palette_file(shuffled[label].astype(np.uint8), palette)],
        "colours": [
            png(colourise(label, SPACE)),
            png(np.dstack([colourise(label, SPACE), np.full(SIZE, 255, np.uint8)])),
        ],
    }
    for how, files in forms.items():
        for content in files:
            answer = opened(web, content).json()
            assert answer["report"]["how"] == how
            assert answer["report"]["unknown"] == []
            assert answer["report"]["exact"] == label.size
            assert answer["name"] == "street"
            layout = layout_of(answer)
            assert np.array_equal(layout.label, label), how
            assert np.array_equal(layout.instance, components(label, SPACE))


@given(arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, 9)), st.sampled_from(["L", "P", "RGB", "RGBA", "I;16"]))
@settings(max_examples=60, deadline=None)
def test_files_mean_what_they_mean_to_generate(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, mode: str
) -> None:
    if mode == "P":
        content = palette_file(array, np.vstack([SPACE.colours[::-1], np.zeros((256 - len(SPACE) - 1, 3))]))
    elif mode in ("RGB", "RGBA"):
        content = save(Image.fromarray(SPACE.colours[np.minimum(array, len(SPACE))]).convert(mode), "PNG")
    else:
        content = png(array if mode == "L" else array.astype(np.uint16))
    path = tmp_path_factory.mktemp("same") / "label.png"
    path.write_bytes(content)
    try:
        expected = readers.read_label(path, SPACE)
    except GessoError:
        with pytest.raises(GessoError):
            read_label_file(content, SPACE, LIMITS)
        return
    assert np.array_equal(read_label_file(content, SPACE, LIMITS)[0], expected)


def test_values_without_a_meaning_are_named_and_counted(web: TestClient) -> None:
    wrong = values()
    wrong[0, :3], wrong[1, :5] = 77, 200
    said(opened(web, png(wrong)), "street.png", "77 (3 pixels)", "200 (5 pixels)", "Allowed")


def test_some_foreign_colours_become_the_nearest_class_and_are_told(web: TestClient) -> None:
    label, _ = scene()
    colours = colourise(label, SPACE)
    near = SPACE.colours[SKY].astype(int) + np.array([3, -2, 1])
    colours[0, :10] = near.clip(0, 255)
    answer = opened(web, png(colours)).json()
    assert np.array_equal(layout_of(answer).label, label)
    report = answer["report"]
    assert (report["how"], report["moved"], report["exact"]) == ("colours", 10, label.size - 10)
    assert report["unknown"] == [{"colour": near.clip(0, 255).tolist(), "pixels": 10, "nearest": "sky"}]
    assert "10 pixels" in report["sentence"]
    assert "sky" in report["sentence"]


def test_a_map_of_another_label_space_is_refused_unless_the_nearest_is_wanted(web: TestClient) -> None:
    other = published("cityscapes").colours[np.arange(20)].repeat(64, 0).reshape(20, 64, 3)
    content = png(other[:, ::-1])
    detail = said(opened(web, content), "colours that toy does not have", "pixels, nearest:", "nearest=true")
    assert "another label space" in detail
    answer = opened(web, content, nearest=True).json()
    assert answer["report"]["moved"] + answer["report"]["exact"] == 20 * 64
    assert answer["report"]["unknown"]
    assert opened(web, png(photograph()), nearest=True).status_code == 200
    said(opened(web, png(photograph())), "photograph")


def test_an_instance_map_comes_with_the_label_map_or_after_it(web: TestClient) -> None:
    label, instance = scene()
    forms = (png(instance.astype(np.uint16)), scene_files(label, instance)["instance"][1])
    for ids in forms:
        answer = opened(web, png(values()), ids).json()
        assert np.array_equal(layout_of(answer).instance, instance)
    after = web.post(
        "/api/open/instances", files={"file": ("ids.png", forms[0]), "label": scene_files(label, instance)["label"]}
    )
    assert np.array_equal(layout_of(after.json()).instance, instance)
    small = png(instance[:, :60].astype(np.uint16))
    said(opened(web, png(values()), small), "60 x 32", "64 x 32")


@given(arrays.arrays(np.int32, (3, 4), elements=st.integers(-(2**31), 2**31 - 1)))
@settings(max_examples=40, deadline=None)
def test_instance_maps_that_the_editor_saved_open_exactly(ids: np.ndarray) -> None:
    rgba = np.ascontiguousarray(ids, dtype="<i4").view(np.uint8).reshape(3, 4, 4)
    if not (rgba[..., 3] == 255).all():  # opaque files are COCO's
        assert np.array_equal(read_instance_file(png(rgba), LIMITS), ids)
    assert np.array_equal(read_instance_file(png(rgba[..., :3]), LIMITS), ids & 0xFFFFFF)
    gray = (ids & 0xFFFF).astype(np.uint16)
    assert np.array_equal(read_instance_file(png(gray), LIMITS), gray)


def test_maps_are_turned_upright_as_photographs_are(web: TestClient, tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / "label.png"
        path.write_bytes(png(values(), exif=exif))
        answer = opened(web, path.read_bytes()).json()
        assert np.array_equal(layout_of(answer).label, readers.read_label(path, SPACE)), orientation


def test_layouts_of_very_many_objects_are_refused_before_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    chess = np.indices((128, 128)).sum(0) % 2 * CAR
    with pytest.raises(LabelError, match=r"8192 objects.*up to 2000.*specks"):
        document_of(chess.astype(np.int32), None, SPACE)
    one = document_of(chess.astype(np.int32), np.full((128, 128), 7, np.int32), SPACE)
    assert len(one.objects) == 1
    monkeypatch.setattr(opening, "MOST_SEARCHED", 3 * 2**14)
    with pytest.raises(LabelError, match="up to 3 in a picture of this size"):
        document_of(chess.astype(np.int32), np.arange(2**14, dtype=np.int32).reshape(128, 128), SPACE)


# ------------------------------------------------------------------------------------------------------ hostile files


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int = 8, colours: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))


def huge(width: int, height: int) -> bytes:
    """A small file of very many pixels."""
    return (
        header(width, height)
        + chunk(b"IDAT", zlib.compress(bytes((width + 1) * min(height, 3000)), 9))
        + chunk(b"IEND", b"")
    )


def animation() -> bytes:
    frames = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (0, 1)]
    return save(frames[0], "PNG", save_all=True, append_images=frames[1:])


def text_bomb() -> bytes:
    packed = zlib.compress(bytes(2**27), 9)
    return (
        header(1, 1) + chunk(b"zTXt", b"k\0\0" + packed) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    )


HOSTILE = {
    "empty": b"",
    "text": b"this is no picture",
    "truncated": png(values())[:-40],
    "header": png(values())[:20],
    "30000": huge(30000, 30000),
    "30000 wide": huge(30000, 1),
    "bomb": huge(16000, 16000),
    "no pixels": header(0, 5) + chunk(b"IEND", b""),
    "animated": animation(),
    "text bomb": text_bomb(),
    "GIF": save(Image.new("L", (4, 4)), "GIF"),
    "JPEG": save(Image.new("RGB", (4, 4)), "JPEG"),
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_a_sentence(web: TestClient, name: str) -> None:
    content = HOSTILE[name]
    responses = [opened(web, content), opened(web, png(values()), content)]
    if name != "JPEG":
        responses.append(web.post("/api/open/photograph", files={"file": ("x.png", content)}))
    for response in responses:
        if name == "text bomb" and response.status_code == 200:
            continue  # the text is ignored, not decompressed
        detail = said(response)
        assert len(detail) < 600
        assert "Traceback" not in detail
    if "30000" in name:
        said(responses[0], "30000", "Reduce it")


@pytest.mark.parametrize(("colours", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_are_no_map(web: TestClient, colours: int, channels: int) -> None:
    rows = b"".join(b"\0" + bytes(2 * channels * 4) for _ in range(4))
    content = header(4, 4, 16, colours) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    said(opened(web, content), "16 bits", "8 bits per channel")
    assert web.post("/api/open/photograph", files={"file": ("x.png", content)}).status_code == 200


def test_names_of_files_do_no_harm(web: TestClient) -> None:
    for name in ("../../etc/passwd", "a\\..\\b.png", "x" * 500, "\u202egnp.png", ""):
        files = {"file": (name or "empty", b"nothing")}
        assert len(said(web.post("/api/open/labels", files=files))) < 400
        files = {"file": (name or "empty", png(values()))}
        answer = web.post("/api/open/labels", files=files).json()
        assert "/" not in answer["name"]
        assert len(answer["name"]) <= 200


# --------------------------------------------------------------------------------------------------------- photographs


def photograph_at(web: TestClient, content: bytes, name: str = "photo.jpg", **data: Any) -> Any:
    return web.post("/api/open/photograph", files={"file": (name, content)}, data=data)


def test_photographs_of_every_kind_become_upright_colours(web: TestClient) -> None:
    plain = Image.fromarray(photograph())
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "RGBA": save(plain.convert("RGBA"), "PNG"),
        "gray": save(plain.convert("L"), "PNG"),
        "palette": save(plain.convert("P"), "PNG"),
        "CMYK": save(plain.convert("CMYK"), "JPEG"),
        "JPEG": save(plain, "JPEG"),
    }
    for name, content in kinds.items():
        answer = photograph_at(web, content).json()
        assert (answer["width"], answer["height"], answer["document"]) == (64, 32, None), name
        assert picture_of(answer["photograph"]).shape == (32, 64, 3)
    assert np.array_equal(picture_of(photograph_at(web, kinds["RGBA"]).json()["photograph"]), photograph())
    turned = photograph_at(web, save(plain, "JPEG", exif=exif, quality=100)).json()
    assert (turned["width"], turned["height"]) == (32, 64)
    expected = np.asarray(Image.open(BytesIO(save(plain, "JPEG", quality=100))).transpose(Image.Transpose.ROTATE_270))
    assert np.abs(picture_of(turned["photograph"]).astype(int) - expected).max() <= 2


def test_large_photographs_come_at_the_size_of_training(web: TestClient, synth: Synthesizer) -> None:
    content = save(Image.fromarray(photograph()).resize((400, 200)), "PNG")
    answer = photograph_at(web, content).json()
    assert (answer["width"], answer["height"]) == (64, 32)
    kept = photograph_at(web, content, keep=True).json()
    assert (kept["width"], kept["height"]) == (400, 200)
    assert trained_size(synth) == SIZE
    assert comfortable_size((60, 60), SIZE) == (60, 60)
    assert comfortable_size((1000, 250), SIZE) == (91, 23)


def test_a_photograph_of_the_dataset_comes_with_its_layout(web: TestClient, dataset: layouts.Listing) -> None:
    sample = dataset.samples[0]
    assert sample.image
    answer = photograph_at(web, sample.image.read_bytes(), sample.image.name).json()
    label = readers.read_label(sample.label, SPACE) if sample.label else None
    assert np.array_equal(layout_of(answer["document"]).label, label)
    assert answer["document"]["name"] == sample.name
    elsewhere = photograph_at(web, save(Image.fromarray(255 - photograph(9)), "PNG"), sample.image.name)
    assert elsewhere.json()["document"] is None, "another photograph of the same name"


# ------------------------------------------------------------------------------------------------------------ examples


def test_examples_of_a_dataset_are_listed_and_open(web: TestClient) -> None:
    listed = web.get("/api/examples").json()
    assert [one["name"] for one in listed] == ["one", "two"]
    assert all((one["width"], one["height"]) == (64, 32) for one in listed)
    assert picture_of(listed[0]["thumbnail"]).shape == (32, 64, 3)
    answer = web.get("/api/examples/1").json()
    assert answer["photograph"] is True
    layout = layout_of(answer)
    label, instance = scene(right=99)
    assert np.array_equal(layout.label, label)
    assert np.array_equal(layout.instance, instance)
    found = web.get("/api/examples/1/photograph")
    assert found.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(found.content))), photograph(99))
    said(web.get("/api/examples/2"), "no example 2")
    assert web.get("/api/examples/-1").status_code == 422


def test_a_model_of_the_toy_world_starts_from_its_scenes(synth: Synthesizer) -> None:
    examples = collect(synth)
    assert len({example.name for example in examples}) == len(examples) >= 6
    loaded = examples[0].load()
    assert loaded.label.shape == SIZE
    assert loaded.photograph is not None
    assert examples[0].load().label.tobytes() == loaded.label.tobytes()
    assert toy.space().classes == SPACE.classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_space_has_a_layout_to_start_from(name: str) -> None:
    space = published(name)
    loaded = horizon(space, (20, 30))
    sky, behind, ground = stripes(space)
    assert loaded.label[0, 0] == sky
    assert loaded.label[-1, 0] == ground != sky
    assert space.names[sky].lower().startswith(("sky", "cloud", "background")), (space.names[sky], space.names[behind])
    assert DocumentWire.of(document_of(loaded.label, loaded.instance, space).layout(space)).width == 30


def test_data_of_other_classes_is_refused(synth: Synthesizer, camvid: Path) -> None:
    with pytest.raises(DataError, match="label space"):
        collect(synth, layouts.find(camvid, "val"))


def test_an_example_whose_file_is_bad_says_so(synth: Synthesizer) -> None:
    def fails() -> Loaded:
        raise DataError("a.png cannot be read; fetch it again.")

    with client(opening.router(Renderer(synth), [Example("a", fails)])) as web:
        said(web.get("/api/examples/0"), "a.png cannot be read")


def test_a_bad_example_does_not_hide_the_others(synth: Synthesizer) -> None:
    label, mended = np.full(SIZE, ROAD, np.int32), [False]

    def load_second() -> Loaded:
        if not mended[0]:
            raise DataError("b.png cannot be read; fetch it again.")
        return Loaded(label, label)

    examples = [
        Example("a", lambda: Loaded(label, label)),
        Example("b", load_second),
        Example("c", lambda: Loaded(label, label)),
    ]
    with client(opening.router(Renderer(synth), examples)) as web:
        listed = web.get("/api/examples").json()
        assert [(one["number"], one["name"], one["fault"]) for one in listed] == [
            (0, "a", None),
            (1, "b", "b.png cannot be read; fetch it again."),
            (2, "c", None),
        ]
        assert [bool(one["thumbnail"]) for one in listed] == [True, False, True]
        mended[0] = True
        assert [one["fault"] for one in web.get("/api/examples").json()] == [None] * 3


def test_examples_are_not_called_bad_because_the_editor_ends(synth: Synthesizer) -> None:
    def ends() -> Loaded:
        raise Closing

    with client(opening.router(Renderer(synth), [Example("a", ends)])) as web:
        said(web.get("/api/examples"), "being closed")


def test_an_example_without_a_photograph_says_so(synth: Synthesizer) -> None:
    label = np.full(SIZE, ROAD, np.int32)
    with client(opening.router(Renderer(synth), [Example("a", lambda: Loaded(label, label))])) as web:
        assert web.get("/api/examples/0").json()["photograph"] is False
        assert picture_of(web.get("/api/examples").json()[0]["thumbnail"])[0, 0].tolist() == list(SPACE.colours[ROAD])
        said(web.get("/api/examples/0/photograph"), "no photograph")
