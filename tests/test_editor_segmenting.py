"""The editor's endpoints around a segmenter: layouts of photographs, and where a photograph does not show its layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edited import client, layout_of, picture_of, png, said, scene_files
from gesso.checkpoints import load_model
from gesso.editor import opening, segmenting
from gesso.editor.rendering import Renderer
from gesso.errors import ConfigError
from gesso.evaluate.faithfulness import faithfulness
from gesso.labels import LabelSpace, components
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import Synthesizer
from styled import CAR, PERSON, ROAD, SIZE, SKY, SPACE, clusters, mirrored, photograph, scene, write_styled_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Synthesizer:
    """Its photograph shows the style of each object as a colour."""
    path = tmp_path_factory.mktemp("models") / "features.safetensors"
    return Synthesizer(mirrored(load_model(write_styled_model(path, styles=clusters()))))


class Bands(PhotoSegmenter):
    """Finds what the photograph's red says: the index of the class."""

    def __init__(self, space: LabelSpace = SPACE) -> None:
        super().__init__("bands", "nothing", space, "0" * 64)

    def _read(self, pixels: Tensor) -> Tensor:
        return pixels[0].long()


def drawn(label: np.ndarray) -> bytes:
    return png(np.repeat(label[..., None], 3, 2).astype(np.uint8))


def test_a_photograph_becomes_a_document(features: Synthesizer) -> None:
    label = scene()[0]
    label[label == len(SPACE)] = ROAD
    specks = label.copy()
    specks[2, 3], specks[31, 60] = PERSON, len(SPACE)
    renderer = Renderer(features)
    reader = segmenting.Reader(renderer, Bands())
    with client(segmenting.router(renderer, reader), opening.router(renderer, [], segment=reader.document)) as web:
        answers = [
            web.post("/api/segment", files={"photograph": ("p.png", drawn(specks))}).json(),
            web.post("/api/open/photograph", files={"file": ("p.png", drawn(specks))}).json()["document"],
        ]
    for answer in answers:
        layout = layout_of(answer)
        assert np.array_equal(layout.label, label), "specks are noise"
        assert np.array_equal(layout.instance, components(label, SPACE))


def test_without_a_segmenter_the_addresses_say_so(features: Synthesizer) -> None:
    with client(segmenting.router(Renderer(features), None)) as web:
        said(web.post("/api/segment", files={"photograph": ("p.png", png(photograph()))}), "--segmenter FILE")
        said(web.post("/api/disagreement", files=scene_files(*scene())), "--segmenter FILE")


def test_a_segmenter_of_other_classes_is_refused(features: Synthesizer) -> None:
    other = SPACE.model_copy(update={"name": "less", "classes": SPACE.classes[:-1]})
    with pytest.raises(ConfigError, match=r"less.*toy"):
        segmenting.Reader(Renderer(features), Bands(other))


def test_disagreement_is_that_of_faithfulness(features: Synthesizer) -> None:
    class Sees(Bands):
        def _read(self, pixels: Tensor) -> Tensor:
            found = torch.from_numpy(scene()[0])
            found[14:24, 4:20] = SKY  # one of the cars
            return found

    renderer = Renderer(features)
    router = segmenting.router(renderer, segmenting.Reader(renderer, Sees()), faithfulness)
    with client(router) as web:
        answer = web.post("/api/disagreement", files=scene_files(*scene())).json()
    mask = picture_of(answer["mask"])
    assert mask.dtype == np.bool_
    expected = np.zeros(SIZE, dtype=bool)
    expected[14:24, 4:20] = True
    assert np.array_equal(mask, expected)
    worst = answer["classes"][0]
    assert worst["name"] == "car"
    assert worst["agreement"] == pytest.approx(1 - 160 / worst["pixels"])
    counted = int((scene()[0] < len(SPACE)).sum())
    assert answer["total"] == pytest.approx(1 - 160 / counted)


def test_noise_of_a_segmenter_goes_to_what_is_nearest() -> None:
    label = np.full((100, 100), ROAD, np.int32)
    label[:50] = SKY
    noisy = label.copy()
    noisy[10, 10] = CAR
    noisy[70, 70] = len(SPACE)
    assert np.array_equal(segmenting.without_specks(noisy, len(SPACE)), label)
    blank = np.full((4, 4), len(SPACE), np.int32)
    assert np.array_equal(segmenting.without_specks(blank, len(SPACE)), blank)
