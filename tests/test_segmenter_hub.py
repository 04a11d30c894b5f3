"""Segmenters of transformers: tiny networks with random weights in folders, beside what transformers itself makes of them."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from gesso.data.spaces import published
from gesso.errors import ConfigError, WeightsError
from gesso.labels import LabelSpace
from gesso.synthesis import hub_segmenter
from gesso.synthesis.hub_classes import match_classes, normalised, read_mapping
from gesso.synthesis.hub_segmenter import HubSegmenter, Preprocessor, load_hub_segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = published("camvid")
# Theirs are in another order, go by several names, and some are unknown to CamVid.
NAMES = ("Road", "building, edifice", "airplane", "SKY", "tree", "side walk")
OURS = ("road", "building", None, "sky", "tree", "sidewalk")
STAGES = [f"stage{n}" for n in range(1, 5)]


@pytest.fixture(scope="session")
def transformers() -> Any:
    return pytest.importorskip("transformers")


def tiny(transformers: Any, kind: str) -> nn.Module:
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: n for n, name in enumerate(NAMES)}}
    four, ones = {"hidden_sizes": [8] * 4, "depths": [1] * 4}, [1] * 4
    if kind == "segformer":
        config = transformers.SegformerConfig(**four, num_attention_heads=ones, decoder_hidden_size=8, **names)
        return transformers.SegformerForSemanticSegmentation(config)
    if kind == "upernet":
        backbone = transformers.ConvNextConfig(**four, out_features=STAGES)
        config = transformers.UperNetConfig(
            backbone_config=backbone, hidden_size=8, pool_scales=[1, 2], use_auxiliary_head=False, **names
        )
        return transformers.UperNetForSemanticSegmentation(config)
    backbone = transformers.SwinConfig(embed_dim=8, depths=ones, num_heads=ones, window_size=4, out_features=STAGES)
    sizes = dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim"), 32)
    layers = {"encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 6}
    thin = {"encoder_feedforward_dim": 16, "dim_feedforward": 16}
    config = transformers.Mask2FormerConfig(backbone_config=backbone, **sizes, **layers, **thin, **names)
    return transformers.Mask2FormerForUniversalSegmentation(config)


SIZES = {"segformer": {"height": 64, "width": 64}, "upernet": {"height": 64, "width": 64}}
MASKED = {"shortest_edge": 64, "longest_edge": 100}


@pytest.fixture(scope="session")
def folders(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    with torch.random.fork_rng():
        for kind in hub_segmenter.KINDS:
            torch.manual_seed(3)
            network = tiny(transformers, kind).eval()
            for module in network.modules():  # so that scores differ over the picture
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.normal_(module.weight, 0, 0.3)
            made[kind] = tmp_path_factory.mktemp(kind)
            network.save_pretrained(made[kind])
            config = {"size": SIZES.get(kind, MASKED), "resample": 2, "image_std": [0.2, 0.25, 0.3]}
            (made[kind] / "preprocessor_config.json").write_text(json.dumps(config))
    return made


@pytest.fixture(params=list(hub_segmenter.KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def photographs(*shape: int, seed: int = 0) -> np.ndarray:
    """Patches with noise: something to tell apart in every corner."""
    rng = np.random.default_rng(seed)
    high, wide = shape[-2:]
    patches = rng.integers(0, 200, (*shape[:-2], high // 16 + 1, wide // 16 + 1, 3))
    coarse = patches.repeat(16, -3).repeat(16, -2)[..., :high, :wide, :]
    return (coarse + rng.integers(0, 50, (*shape, 3))).astype(np.uint8)


def processed(transformers: Any, kind: str, folder: Path, picture: np.ndarray) -> torch.Tensor:
    """(1, 3, h, w) as transformers' own processor without torchvision makes it; UperNet goes by SegFormer's."""
    name = "mask2former" if kind == "mask2former" else "segformer"
    module = importlib.import_module(f"transformers.models.{name}.image_processing_pil_{name}")
    processor = getattr(module, {"mask2former": "Mask2Former", "segformer": "Segformer"}[name] + "ImageProcessorPil")
    document = json.loads((folder / "preprocessor_config.json").read_text())
    return processor(**document)(picture, return_tensors="pt")["pixel_values"]


def expected_ids(transformers: Any, kind: str, folder: Path, picture: np.ndarray) -> torch.Tensor:
    """Their classes (H, W), by transformers alone; Mask2Former's formula is written out."""
    network = getattr(transformers, hub_segmenter.KINDS[kind]).from_pretrained(folder).eval()
    image = processed(transformers, kind, folder, picture)
    with torch.no_grad():
        output = network(pixel_values=image)
    if kind == "mask2former":
        masks = F.interpolate(output.masks_queries_logits, image.shape[-2:], mode="bilinear", align_corners=False)
        chances = output.class_queries_logits.softmax(-1)[0, :, :-1]
        scores = sum(chances[n].view(-1, 1, 1) * masks[0, n].sigmoid() for n in range(masks.shape[1]))[None]
    else:
        scores = output.logits
    return F.interpolate(scores, picture.shape[:2], mode="bilinear", align_corners=False)[0].argmax(0)


def in_our_classes(ids: torch.Tensor) -> np.ndarray:
    table = np.array([SPACE.index(name) if name else len(SPACE) for name in OURS])
    return table[ids.numpy()]


# --- beside transformers ---


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (100, 64)])
def test_preprocessing_is_transformers_to_the_last_bit_of_the_pixels(
    transformers: Any, folders: dict[str, Path], kind: str, size: tuple[int, int]
) -> None:
    picture = photographs(*size)
    document = json.loads((folders[kind] / "preprocessor_config.json").read_text())
    found = Preprocessor.parse(document, kind, "file")(torch.from_numpy(picture).movedim(-1, 0))
    expected = processed(transformers, kind, folders[kind], picture)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_classes_found_are_those_of_transformers(
    transformers: Any, folders: dict[str, Path], kind: str, size: tuple[int, int]
) -> None:
    picture = photographs(*size)
    expected = in_our_classes(expected_ids(transformers, kind, folders[kind], picture))
    assert len(np.unique(expected)) > 1, "the picture must tell classes apart"
    found = load_hub_segmenter(folders[kind], SPACE)(picture)
    assert (found.dtype, found.shape) == (np.int32, size)
    assert (found == expected).mean() > 0.999  # sums may round otherwise


def test_mask2former_at_384_is_what_transformers_post_processing_makes(
    transformers: Any, folders: dict[str, Path]
) -> None:
    """Theirs scales every mask to 384x384 first; there both agree."""
    folder, picture = folders["mask2former"], photographs(384, 384)
    module = importlib.import_module("transformers.models.mask2former.image_processing_pil_mask2former")
    processor = module.Mask2FormerImageProcessorPil(size={"height": 384, "width": 384})
    network = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        output = network(**processor(picture, return_tensors="pt"))
    expected = in_our_classes(processor.post_process_semantic_segmentation(output, [(384, 384)])[0])
    mean, deviation = hub_segmenter.IMAGENET_MEAN, hub_segmenter.IMAGENET_DEVIATION
    reader = load_hub_segmenter(folder, SPACE)
    reader.preprocessor = Preprocessor((384, 384), mean=mean, deviation=deviation)
    assert len(np.unique(expected)) > 1
    assert (reader(picture) == expected).mean() > 0.999


# --- the interface ---


def test_what_it_says_of_itself(folders: dict[str, Path], kind: str) -> None:
    reader = load_hub_segmenter(folders[kind], SPACE)
    assert reader.name == f"{folders[kind].name} ({kind}) {reader.hash[:8]}"
    assert reader.origin == f"Hugging Face hub: {folders[kind].name}"
    assert str(folders[kind]) not in reader.name + reader.origin
    assert (reader.label_space, reader.info, reader.features()) == (SPACE, None, None)
    assert reader.uncovered == ("pole", "sign", "fence", "car", "pedestrian", "bicyclist")
    assert load_hub_segmenter(folders[kind], SPACE).hash == reader.hash


def test_a_photograph_does_not_depend_on_its_batch(folders: dict[str, Path], kind: str) -> None:
    reader, pictures = load_hub_segmenter(folders[kind], SPACE), photographs(2, 32, 50)
    for picture, found in zip(pictures, reader(pictures), strict=True):
        np.testing.assert_array_equal(reader(picture), found)


def test_a_file_of_classes_decides_over_names(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"airplane": "car", "road": "sidewalk", "edifice": None}))
    plain, mapped = (load_hub_segmenter(folders["segformer"], SPACE, mapping=m) for m in (None, path))
    picture = photographs(64, 64)
    moved = {"road": "sidewalk", "building": None}
    table = [len(SPACE) if moved.get(n, n) is None else SPACE.index(moved.get(n, n)) for n in SPACE.names]
    found = plain(picture)
    known = found < len(SPACE)
    np.testing.assert_array_equal(mapped(picture)[known], np.array(table)[found[known]])
    assert set(mapped(picture)[~known]) <= {SPACE.index("car")}
    assert mapped.uncovered == ("building", "pole", "road", "sign", "fence", "pedestrian", "bicyclist")
    assert mapped.hash != plain.hash


def constant(network_classes: int, winner: int) -> nn.Module:
    """A network that finds one class everywhere."""

    class Constant(nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> Any:
            scores = torch.zeros(1, network_classes, 4, 4)
            scores[:, winner] = 1
            return type("Output", (), {"logits": scores})()

    return Constant()


@pytest.mark.parametrize(("winner", "expected"), [(0, len(SPACE)), (1, 4), (2, len(SPACE)), (9, len(SPACE))])
def test_classes_that_no_label_space_knows(winner: int, expected: int) -> None:
    """Below, between and beyond those that are known."""
    reader = HubSegmenter(constant(10, winner), Preprocessor(None), SPACE, {1: 4, 3: 0}, name="constant", kind="none")
    assert np.unique(reader(photographs(8, 12))).tolist() == [expected]


# --- preprocessing ---


@pytest.mark.parametrize(
    ("document", "kind", "size", "target"),
    [
        ({}, "segformer", (100, 200), (512, 512)),
        ({}, "mask2former", (100, 200), (672, 1344)),  # 666x1333, up to multiples of 32
        ({"size": 64}, "segformer", (100, 200), (64, 64)),
        ({"size": 64, "max_size": 96}, "mask2former", (100, 200), (64, 96)),
        ({"size": {"shortest_edge": 50}, "size_divisor": 0}, "mask2former", (100, 201), (50, 100)),
        ({"size": {"shortest_edge": 50}}, "upernet", (201, 100), (100, 50)),
        ({"size": {"height": 30, "width": 20}}, "upernet", (201, 100), (30, 20)),
        ({"do_resize": False}, "segformer", (31, 77), (31, 77)),
    ],
)
def test_sizes(document: dict[str, Any], kind: str, size: tuple[int, int], target: tuple[int, int]) -> None:
    assert Preprocessor.parse(document, kind, "file").target(*size) == target


def test_ranges() -> None:
    white = torch.full((3, 4, 4), 255, dtype=torch.uint8)
    plain = Preprocessor.parse({"do_resize": False, "do_normalize": False}, "segformer", "file")
    assert plain(white).unique().tolist() == [1.0]
    raw = Preprocessor.parse({"do_resize": False, "do_rescale": False, "do_normalize": False}, "segformer", "file")
    assert raw(white).unique().tolist() == [255.0]
    usual = Preprocessor.parse({"do_resize": False}, "segformer", "file")(white)[0, :, 0, 0]
    assert usual.tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


@pytest.mark.parametrize(
    "document",
    [
        {"resample": 0},
        {"size": {"longest_edge": 3}},
        {"size": "large"},
        {"image_mean": [0.5]},
        {"image_std": [0.5, 0, 1]},
        {"image_std": [0.5, -0.5, 1]},
        {"image_std": [0.5, float("nan"), 1]},
        {"image_std": [0.5, float("inf"), 1]},
        {"image_mean": [0.5, float("nan"), 1]},
        {"rescale_factor": 0},
        {"rescale_factor": float("nan")},
        {"size": 0},
        {"size": -64},
        {"size": {"height": 0, "width": 64}},
        {"size": {"height": 64, "width": -1}},
        {"size": {"shortest_edge": 0}},
        {"size": {"shortest_edge": 64, "longest_edge": -5}},
        {"size": {"shortest_edge": float("inf")}},
        {"do_center_crop": True},
    ],
)
def test_preprocessing_that_is_not_done_here(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^that file asks for what gesso does not do .*Mend a copy"):
        Preprocessor.parse(document, "segformer", "that file")


def test_multiples_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"that file .*size_divisor -32"):
        Preprocessor.parse({"size_divisor": -32}, "mask2former", "that file")


def test_a_thin_line_keeps_a_pixel() -> None:
    narrow = Preprocessor.parse({"size": {"shortest_edge": 64, "longest_edge": 100}}, "segformer", "file")
    assert narrow(torch.zeros((3, 1, 1000), dtype=torch.uint8)).shape == (1, 3, 1, 100)


# --- classes ---


def test_names_are_compared_without_case_blanks_and_punctuation() -> None:
    assert {normalised(n) for n in ("Traffic Light", "traffic-light", "trafficlight ", "traffic_light")} == {
        "trafficlight"
    }


def test_matching_by_names() -> None:
    assert match_classes(dict(enumerate(NAMES)), SPACE, {}) == {
        n: SPACE.index(name) for n, name in enumerate(OURS) if name
    }
    assert match_classes({0: "plant, tree", 7: "sky; tree"}, SPACE, {}) == {
        0: SPACE.index("tree"),
        7: SPACE.index("sky"),
    }


def test_the_published_cityscapes_names_match_its_label_space() -> None:
    space = published("cityscapes-19")
    names = {n: name.title() for n, name in enumerate(space.names)}
    assert match_classes(names, space, {}) == {n: n for n in range(len(space))}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"lorry": "car"}, r"classes\.json: the segmenter has no class 'lorry'; it has Road, SKY"),
        ({"road": "motorway"}, r"classes\.json: camvid has no class 'motorway'; it has sky, building"),
        (dict.fromkeys(("road", "building", "sky", "tree", "side walk")), "No class of the segmenter is one of camvid"),
    ],
)
def test_mappings_that_are_refused(told: dict[str, str | None], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        match_classes(dict(enumerate(NAMES)), SPACE, told, "classes.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '"a"'])
def test_files_of_classes_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"classes\.json"):
        read_mapping(path)
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        read_mapping(tmp_path / "none.json")


# --- what is not there, or something else ---


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hub_segmenter.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r'The segmenter a/b needs transformers: pip install "gesso\[eval\]"'):
        load_hub_segmenter("a/b", SPACE)


@pytest.mark.usefixtures("transformers")
def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"There is no segmenter .* in that folder that can be read"):
        load_hub_segmenter(tmp_path, SPACE)


def test_offline(transformers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fails)
    with pytest.raises(
        WeightsError, match=r"no segmenter a/b in a folder .* or on the hub .*couldn't connect to the hub\)"
    ):
        load_hub_segmenter("a/b", SPACE)


def test_weights_are_missing(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = copied(folders[kind], tmp_path / "copy")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="There is no segmenter"):
        load_hub_segmenter(folder, SPACE)


def test_weights_are_cut_off(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders["segformer"], tmp_path / "copy")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(WeightsError, match="There is no segmenter"):
        load_hub_segmenter(folder, SPACE)


def test_weights_that_are_no_numbers(folders: dict[str, Path], tmp_path: Path) -> None:
    file = copied(folders["segformer"], tmp_path / "copy") / "model.safetensors"
    tensors = load_file(file)
    tensors["decode_head.classifier.bias"][0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"not all numbers \(decode_head\.classifier\.bias and 0 other"):
        load_hub_segmenter(file.parent, SPACE)


def test_a_backbone_without_its_head(transformers: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    """transformers would draw the head at random, and warn."""
    network = tiny(transformers, "segformer")
    transformers.SegformerModel(network.config).save_pretrained(tmp_path / "backbone")
    settings = (folders["segformer"] / "preprocessor_config.json").read_bytes()
    (tmp_path / "backbone" / "preprocessor_config.json").write_bytes(settings)
    with pytest.raises(WeightsError, match=r"does not hold all weights of a segmenter \(decode_head.*fine-tuned"):
        load_hub_segmenter(tmp_path / "backbone", SPACE)


def test_no_preprocessing(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(folders["segformer"], tmp_path / "copy")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"has no preprocessor_config\.json that can be read"):
        load_hub_segmenter(folder, SPACE)


def test_another_kind_of_network(transformers: Any, tmp_path: Path) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="is a bert; gesso knows segformer, upernet, mask2former"):
        load_hub_segmenter(tmp_path, SPACE)


def test_a_label_space_of_other_things(folders: dict[str, Path]) -> None:
    few = LabelSpace.parse({"name": "fruit", "classes": [{"name": "apple", "values": [0], "colour": [1, 1, 1]}]})
    with pytest.raises(
        ConfigError, match=r"No class of the segmenter is one of fruit: it knows Road, .*--segmenter-classes"
    ):
        load_hub_segmenter(folders["segformer"], few)


def test_unused_weights_are_passed_over_in_silence(
    transformers: Any, folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Backbones come with heads that nobody needs; transformers would print a table of them."""
    folder, messages = copied(folders[kind], tmp_path / "copy"), []
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"head_of_old.weight": torch.zeros(1)}, file, metadata={"format": "pt"})

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    log, handler, before = logging.getLogger("transformers"), Kept(), transformers.utils.logging.get_verbosity()
    log.addHandler(handler)
    try:
        found = load_hub_segmenter(folder, SPACE)(photographs(32, 32))
    finally:
        log.removeHandler(handler)
    assert messages == []
    assert transformers.utils.logging.get_verbosity() == before
    np.testing.assert_array_equal(found, load_hub_segmenter(folders[kind], SPACE)(photographs(32, 32)))
