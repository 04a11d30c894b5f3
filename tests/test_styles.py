"""Features of objects, the clusters that they form, and the command that keeps these in a model file."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gesso.checkpoints import Model, load_model, save_model
from gesso.cli import main
from gesso.data import toy
from gesso.errors import ConfigError, DataError, LabelError, ModelFileError
from gesso.model_info import NetworkDescription, StyleDescription, StyleTable
from gesso.networks import pix2pixhd
from gesso.synthesis.features import encode_objects, feature_map
from gesso.synthesis.style_pictures import STRIP, THUMBNAIL, style_sheet, thumbnail
from gesso.synthesis.style_space import style_space
from gesso.synthesis.styles import cluster, collect, find_styles, k_means, large_enough
from styled import clusters, write_styled_model

pytestmark = pytest.mark.usefixtures("one_thread")

RED, GREEN, BLUE = (0.8, -0.6, -0.6), (-0.6, 0.8, -0.6), (-0.6, -0.6, 0.8)


class Eye(nn.Module):
    """An encoder whose features are the colours themselves: what comes out is known in closed form."""

    multiple = smallest = 4

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.one = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, instance: Tensor) -> Tensor:
        self.seen.append(tuple(image.shape))
        assert image.shape[-2] % 4 == image.shape[-1] % 4 == 0
        return pix2pixhd.pool_instances(image * self.one, instance)


def painted(
    name: str, size: tuple[int, int], *objects: tuple[int, int, tuple[int, int, int, int], Any]
) -> dict[str, Any]:
    """A sample of flat rectangles (class, id, (top, left, bottom, right), colour) on class 0, which is black."""
    label, instance = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    image = torch.full((3, *size), -1.0)
    for index, number, (top, left, bottom, right), colour in objects:
        place = (slice(top, bottom), slice(left, right))
        label[place], instance[place] = index, number
        image[(slice(None), *place)] = torch.tensor(colour).view(3, 1, 1)
    return {"name": name, "label": label, "instance": instance, "image": image}


def street(number: int, *colours: tuple[float, float, float]) -> dict[str, Any]:
    """16x32 with cars (class 9) of 4x4 pixels in a row."""
    cars = [(9, 9001 + i, (4, 6 * i, 8, 6 * i + 4), colour) for i, colour in enumerate(colours)]
    return painted(f"street{number}", (16, 32), *cars)


@pytest.fixture
def streets() -> list[dict[str, Any]]:
    """Six red, three green and one blue car."""
    rows = [(RED, GREEN, RED), (RED, RED), (GREEN, RED, BLUE), (GREEN, RED)]
    return [street(number, *row) for number, row in enumerate(rows)]


# ------------------------------------------------------------------------------------------------------------ features


def test_a_vector_is_the_mean_over_the_object_alone() -> None:
    """Also where the photograph must be extended: its margin belongs to nothing."""
    torch.manual_seed(0)
    item = painted("one", (10, 13), (2, 7, (3, 2, 10, 13), RED))
    item["image"] = torch.rand(3, 10, 13) * 2 - 1
    eye = Eye()
    found = encode_objects(eye, item["image"], item["label"], item["instance"], "instance")
    assert eye.seen == [(1, 3, 12, 16)]
    assert found.keys == [(0, 0), (2, 7)]
    assert found.areas.tolist() == [130 - 77, 77]
    for row, index in enumerate((0, 2)):
        mean = item["image"][:, item["label"] == index].mean(1)
        torch.testing.assert_close(torch.from_numpy(found.vectors[row]), mean)


def test_at_its_sizes_vectors_are_the_encoders_own_output() -> None:
    torch.manual_seed(1)
    encoder = pix2pixhd.InstanceEncoder(width=4, downs=2).eval()
    item = painted("one", (16, 24), (3, 5, (0, 0, 9, 9), RED), (2, 5, (0, 12, 16, 24), BLUE))
    item["image"] += torch.rand(3, 16, 24) * 0.2
    found = encode_objects(encoder, item["image"], item["label"], item["instance"], "instance")
    assert found.keys == [(0, 0), (2, 5), (3, 5)]  # equal ids in two classes are two objects
    with torch.no_grad():
        own = encoder(item["image"][None], item["label"][None])[0]
    mapped = feature_map(found.table(), item["label"], item["instance"], "instance", 3)
    assert torch.equal(mapped, own)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (4, 4), (5, 1)])
def test_small_photographs_are_extended(size: tuple[int, int]) -> None:
    encoder = pix2pixhd.InstanceEncoder(width=4, downs=2).eval()
    label = torch.zeros(size, dtype=torch.long)
    found = encode_objects(encoder, torch.rand(3, *size), label, label, "instance")
    assert found.areas.tolist() == [size[0] * size[1]]
    assert np.isfinite(found.vectors).all()


def test_regions_may_be_classes() -> None:
    item = painted("one", (8, 8), (2, 7, (0, 0, 4, 4), RED), (2, 8, (4, 4, 8, 8), BLUE))
    found = encode_objects(Eye(), item["image"], item["label"], None, "label")
    assert found.keys == [(0, 0), (2, 2)]
    np.testing.assert_allclose(found.vectors[1], np.add(RED, BLUE) / 2, rtol=1e-6)
    mapped = feature_map({(2, 2): RED}, item["label"], None, "label", 3)
    assert torch.equal(mapped.any(0), item["label"] == 2)


def test_a_map_holds_the_vectors_and_zeros_elsewhere() -> None:
    item = painted("one", (6, 7), (2, 7, (0, 0, 3, 3), RED), (3, 7, (3, 3, 6, 7), BLUE))
    vectors = {(3, 7): (0.5, -0.25), (2, 9): (9.0, 9.0)}  # there is no object 9
    mapped = feature_map(vectors, item["label"], item["instance"], "instance", 2)
    assert mapped.shape == (2, 6, 7) and mapped.dtype == torch.float32
    there = item["label"] == 3
    assert (mapped[:, there] == torch.tensor([[0.5], [-0.25]])).all()
    assert not mapped[:, ~there].any()


def test_features_that_do_not_fit() -> None:
    item = painted("one", (8, 8))
    image, label = item["image"], item["label"]
    with pytest.raises(LabelError, match=r"photograph is 8x6, its label map 8x8: they must be equal"):
        encode_objects(Eye(), image[..., :6], label, label, "instance")
    with pytest.raises(LabelError, match=r"instance map is 4x8, the label map 8x8"):
        encode_objects(Eye(), image, label, label[:4], "instance")
    with pytest.raises(LabelError, match="need an instance map, and none came"):
        feature_map({}, label, None, "instance", 3)
    with pytest.raises(LabelError, match="object 7 of class 2 has 2 numbers, this model takes 3"):
        feature_map({(2, 7): (1.0, 2.0)}, label, label, "instance", 3)


# ------------------------------------------------------------------------------------------------------------ clusters


def test_clusters_of_flat_colours_are_the_colours(streets: list[dict[str, Any]]) -> None:
    told: list[tuple[int, int]] = []
    census = collect(Eye(), streets, "instance", 11, lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (census.classes == 9).sum() == 10
    found = cluster(census, minimum_area=16, modes=5)
    assert found.keys() == {0, 9}
    cars = found[9]
    np.testing.assert_allclose(cars.centres, [RED, GREEN, BLUE], atol=1e-6)  # the most frequent first
    assert cars.sizes.tolist() == [6, 3, 1]
    assert census.areas[cars.typical].tolist() == [16, 16, 16]
    np.testing.assert_allclose(census.vectors[cars.typical], cars.centres, atol=1e-6)
    assert found[0].sizes.tolist() == [4]


def test_the_order_of_photographs_does_not_matter() -> None:
    random = np.random.default_rng(3)
    items = [street(n, *random.uniform(-1, 1, (4, 3)).tolist()) for n in range(12)]
    first, second = (
        cluster(collect(Eye(), order, "instance", 11), minimum_area=1, modes=6)[9]
        for order in (items, [items[i] for i in random.permutation(12)])
    )
    assert np.array_equal(first.centres, second.centres)
    assert np.array_equal(first.sizes, second.sizes)


def test_the_published_rule_is_a_64th_of_the_picture() -> None:
    """(H * W) // 32 = 64 here: 32 pixels are its half, and half is not enough."""
    item = painted("one", (32, 64), (1, 1, (0, 0, 4, 8), RED), (2, 2, (8, 0, 9, 33), RED))
    census = collect(Eye(), [item], "instance", 11)
    assert census.areas.tolist() == [32 * 64 - 65, 32, 33]
    assert cluster(census).keys() == {0, 2}
    assert cluster(census, minimum_area=32).keys() == {0, 1, 2}
    assert cluster(census, minimum_area=33).keys() == {0, 2}
    assert cluster(census, minimum_area=32, only=[1, 5]).keys() == {1}
    assert large_enough(census.shares, census.areas, None).tolist() == [True, False, True]


def test_k_means_has_no_more_modes_than_different_vectors() -> None:
    vectors = np.array([[0.5, 1.0]] * 3 + [[0.25, 0.0]] * 4 + [[0.25, 1e-9]], dtype=np.float64)
    centres, assigned = k_means(vectors, 10)
    np.testing.assert_allclose(centres, [[0.25, 2e-10], [0.5, 1.0]], atol=1e-9)
    assert assigned.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_equal_sizes_are_ordered_by_their_centres() -> None:
    vectors = np.array([[0.5, 0.0], [-0.5, 1.0], [-0.5, -1.0]])
    centres, _ = k_means(vectors, 3)
    assert centres.tolist() == [[-0.5, -1.0], [-0.5, 1.0], [0.5, 0.0]]


def test_ignored_pixels_are_no_object() -> None:
    item = painted("one", (8, 8), (2, 2, (0, 0, 4, 8), RED))
    assert set(collect(Eye(), [item], "instance", 2).classes.tolist()) == {0}


def test_censuses_that_cannot_be_clustered(streets: list[dict[str, Any]]) -> None:
    census = collect(Eye(), streets, "instance", 11)
    with pytest.raises(
        DataError, match=r"None of the 10 objects .* about 1/64.* largest has 16 pixels.*--minimum-area"
    ):
        cluster(dataclasses.replace(census, shares=census.shares * 0), only=[9])
    with pytest.raises(DataError, match=r"the limit is 17 pixels, the largest has 16"):
        cluster(census, minimum_area=17, only=[9])
    with pytest.raises(DataError, match="no object of the classes asked for"):
        cluster(census, only=[3])
    with pytest.raises(ConfigError, match="--modes 0 leaves nothing"):
        cluster(census, modes=0)
    with pytest.raises(ConfigError, match="--minimum-area 0 leaves nothing"):
        cluster(census, minimum_area=0)
    with pytest.raises(DataError, match="no photograph to find styles in"):
        collect(Eye(), [], "instance", 11)
    del streets[2]["image"]
    with pytest.raises(DataError, match="Sample street2 has no photograph"):
        collect(Eye(), streets, "instance", 11)


# ------------------------------------------------------------------------------------------------------------ pictures


def test_a_thumbnail_shows_the_object_whole_and_its_surroundings_faded() -> None:
    photograph = np.zeros((40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 20:50] = True
    photograph[mask] = (200, 30, 30)
    picture = thumbnail(photograph, mask)
    assert picture.shape == (THUMBNAIL, THUMBNAIL, 3)
    red = (picture[..., 0] > 180) & (picture[..., 1] < 60)
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    assert abs((np.ptp(columns) + 1) / (np.ptp(rows) + 1) - 3) < 0.4, "its proportions are kept"
    assert abs(rows.mean() - THUMBNAIL / 2) < 2 and abs(columns.mean() - THUMBNAIL / 2) < 2
    assert picture[0, 0].tolist() == [245, 245, 245]
    assert picture[:, 0].min() > 100, "black surroundings are faded"


@pytest.mark.parametrize("place", [(0, 0), (39, 59), (39, 0)])
def test_a_thumbnail_of_one_pixel_in_a_corner(place: tuple[int, int]) -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[place] = True
    assert thumbnail(np.full((40, 60, 3), 9, dtype=np.uint8), mask).min() < 20


def test_the_sheet_has_a_row_per_class_and_a_column_per_mode(toy_styles: dict[str, Tensor], model: Model) -> None:
    page = style_sheet(toy_styles, model.info.label_space, zoom=2)
    side = 2 * THUMBNAIL
    assert page.size == (3 * side + 4 * 4, 14 + 4 + 2 * (side + STRIP) + 2 * (4 + 14) + 4)
    bare = {key: value for key, value in toy_styles.items() if key.endswith("centres")}
    assert style_sheet(bare, model.info.label_space, zoom=2).size == page.size


@pytest.fixture
def toy_styles() -> dict[str, Tensor]:
    """Three modes of cars and one of roads."""
    found = {}
    for index, count in ((9, 3), (2, 1)):
        found[f"{index}.centres"] = torch.linspace(-1, 1, 3 * count).view(count, 3)
        found[f"{index}.sizes"] = torch.arange(count, 0, -1)
        found[f"{index}.thumbnails"] = torch.full((count, THUMBNAIL, THUMBNAIL, 3), 90, dtype=torch.uint8)
    return found


# ---------------------------------------------------------------------------------------------------------- model files


@pytest.fixture(scope="module")
def feature_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with an encoder of 3 features."""
    info = load_model(tiny_model).info
    arguments = {**info.networks["generator"].arguments, "in_channels": info.semantics.channels + 3}
    encoding = {"features": 3, "width": 4, "downs": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        networks = {
            "generator": pix2pixhd.initialise(pix2pixhd.GlobalGenerator(**arguments)),
            "encoder": pix2pixhd.InstanceEncoder(**encoding),
        }
    described = {
        "generator": NetworkDescription(name="pix2pixhd.GlobalGenerator", arguments=arguments),
        "encoder": NetworkDescription(name="pix2pixhd.InstanceEncoder", arguments=encoding),
    }
    update = {"networks": described, "style": StyleDescription(channels=3)}
    path = tmp_path_factory.mktemp("feature-model") / "model.safetensors"
    save_model(path, networks, info.model_copy(update=update))
    return path


@pytest.fixture
def model(feature_model: Path) -> Model:
    return load_model(feature_model)


def same_weights(first: Model, second: Model) -> bool:
    for name, network in first.networks.items():
        other = second.networks[name].state_dict()
        if any(not torch.equal(value, other[key]) for key, value in network.state_dict().items()):
            return False
    return first.networks.keys() == second.networks.keys()


def test_styles_found_are_styles_stored(model: Model, streets: list[dict[str, Any]], tmp_path: Path) -> None:
    info, found = find_styles(model, streets, modes=4, minimum_area=16, seed=5, only=["car"], origin="streets")
    assert info.styles == StyleTable(origin="streets", modes=4, minimum_area=16, seed=5, objects={"car": 10})
    assert found.keys() == {"9.centres", "9.sizes", "9.thumbnails"}
    assert int(found["9.sizes"].sum()) == 10
    assert found["9.thumbnails"].shape == (len(found["9.sizes"]), THUMBNAIL, THUMBNAIL, 3)
    save_model(tmp_path / "model.safetensors", model.networks, info, found)
    again = load_model(tmp_path / "model.safetensors")
    assert again.info == info
    assert again.styles.keys() == found.keys()
    assert all(torch.equal(again.styles[key], found[key]) for key in found)
    assert same_weights(model, again)
    assert again.hash != model.hash


def test_what_meets_in_photographs_is_counted(model: Model, streets: list[dict[str, Any]], tmp_path: Path) -> None:
    info, found = find_styles(model, streets, modes=3, minimum_area=16)
    assert info.styles is not None and info.styles.leader in {"sky", "road", "building", "sidewalk"}
    leader = toy.space().index(info.styles.leader)
    met = found[f"{leader}.together"]
    assert met.shape == (len(found[f"{leader}.centres"]),) * 2 and met.sum() == found[f"{leader}.sizes"].sum()
    save_model(tmp_path / "model.safetensors", model.networks, info, found)
    space = style_space(load_model(tmp_path / "model.safetensors"))
    assert space is not None and space.leader == leader
    assert all(np.array_equal(modes.together, found[f"{index}.together"]) for index, modes in space.modes.items())


def test_the_thumbnail_is_of_an_object_of_its_mode(streets: list[dict[str, Any]], model: Model) -> None:
    seeing = dataclasses.replace(model, networks={**model.networks, "encoder": Eye()})
    _, found = find_styles(seeing, streets, minimum_area=16)
    middle = found["9.thumbnails"][:, THUMBNAIL // 2, THUMBNAIL // 2].float() / 127.5 - 1
    torch.testing.assert_close(middle, found["9.centres"], atol=0.1, rtol=0)
    described = model.info.model_copy(update={"style": StyleDescription(channels=3, regions="label")})
    _, found = find_styles(dataclasses.replace(seeing, info=described), streets[:1], minimum_area=16)
    assert found["9.sizes"].tolist() == [1]


def test_models_and_classes_without_styles(tiny_model: Path, model: Model, streets: list[dict[str, Any]]) -> None:
    with pytest.raises(ModelFileError, match=r"from a model without encoder.*--instance-features.*latest_net_E\.pth"):
        find_styles(load_model(tiny_model), streets)
    with pytest.raises(LabelError, match="no class 'bicycle' in toy"):
        find_styles(model, streets, only=["bicycle"])
    with pytest.raises(ConfigError, match="--modes 0"):
        find_styles(model, streets, modes=0)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `gesso styles`; gives exit code, what it printed, and its error."""
    monkeypatch.setenv("COLUMNS", "300")

    def styles(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["styles", *map(str, words)])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return styles


@pytest.fixture
def copy(feature_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(feature_model, tmp_path / "model.safetensors"))


def test_styles_find_store_show_draw(run: Any, copy: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    before, sheet = load_model(copy), tmp_path / "styles.png"
    code, out, err = run(copy, "--data", tiny_dataset, "--modes", 3, "--sheet", sheet, "--device", "cpu")
    assert code == 0, err
    assert "connected components of the countable classes stand in" in out
    after = load_model(copy)
    assert after.hash != before.hash and same_weights(before, after)
    assert after.info.styles.modes == 3 and str(tiny_dataset) in after.info.styles.origin
    for name, objects in after.info.styles.objects.items():
        assert name in out and str(objects) in out
    modes = {key: len(value) for key, value in after.styles.items() if key.endswith(".centres")}
    assert modes and set(modes.values()) <= {1, 2, 3}
    drawn = sheet.read_bytes()
    with Image.open(sheet) as page:
        assert page.width == max(modes.values()) * (2 * THUMBNAIL + 4) + 4

    sheet.unlink()
    code, out, _ = run(copy, "--sheet", sheet)
    assert code == 0 and sheet.read_bytes() == drawn
    code, shown, _ = run(copy)
    assert code == 0 and shown == out.replace(f"Their picture is {sheet}.\n", "")
    assert "at most 3 modes per class, seed 0" in shown
    assert load_model(copy).hash == after.hash

    other = tmp_path / "other.safetensors"
    words = ("--data", tiny_dataset, "--classes", "car, road", "--minimum-area", 1, "--out", other, "--limit", 2)
    code, out, err = run(copy, *words, "--device", "cpu")
    assert code == 0, err
    assert load_model(copy).hash == after.hash
    assert set(load_model(other).info.styles.objects) <= {"car", "road"}
    assert "at least 1 pixels" in out


def test_the_same_command_finds_the_same_styles(run: Any, copy: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    hashes = set()
    for _ in range(2):
        assert run(copy, "--data", tiny_dataset, "--modes", 4, "--device", "cpu")[0] == 0
        hashes.add(load_model(copy).hash)
    assert len(hashes) == 1


def test_refusals(run: Any, copy: Path, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tiny_dataset, elsewhere)
    text = (elsewhere / "labels.json").read_text()
    (elsewhere / "labels.json").write_text(text.replace('"car"', '"boat"'))
    bare = tmp_path / "bare"
    shutil.copytree(tiny_dataset / "train" / "labels", bare)
    content = copy.read_bytes()
    photograph = tiny_dataset / "train" / "images" / "scene0.png"
    for words, said in (
        ((copy,), "holds no styles yet: find them with"),
        ((tiny_model, "--data", tiny_dataset), "from a model without encoder"),
        ((copy, "--data", elsewhere), "label space"),
        ((copy, "--data", tiny_dataset, "--modes", 0), "--modes 0 leaves nothing"),
        ((copy, "--data", tiny_dataset, "--limit", 0), "--limit 0"),
        ((copy, "--data", tiny_dataset, "--minimum-area", 5000), "largest has"),
        ((copy, "--data", tiny_dataset, "--classes", "car,boat"), "no class 'boat'"),
        ((copy, "--labels", bare), "has no photograph"),
        ((copy, "--data", tiny_dataset, "--sheet", copy), "name a file that ends in .png"),
        ((copy, "--data", tiny_dataset, "--sheet", photograph), "would overwrite a file of the data"),
        ((copy, "--out", tmp_path / "other.safetensors"), "with --data"),
        ((tmp_path / "gone.safetensors",), "There is no file"),
    ):
        code, _, err = run(*words)
        assert code == 1, words
        assert said in err and err.startswith("gesso: ") and err.count("\n") == 1, (words, err)
    assert copy.read_bytes() == content


def test_nothing_that_is_read_is_overwritten(
    run: Any, copy: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither are photographs encoded for a result that cannot be written."""
    data, folder, png, model = (
        tmp_path / "data",
        tmp_path / "folder.png",
        tmp_path / "a.png",
        tmp_path / "a.safetensors",
    )
    shutil.copytree(tiny_dataset, data)
    space = Path(shutil.copy(data / "labels.json", tmp_path / "space.safetensors"))
    folder.mkdir()
    (tmp_path / "linked.png").symlink_to(copy)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("gesso.synthesis.styles.find_styles", None)  # never called
    label, photograph = (data / "train" / kind / "scene0.png" for kind in ("labels", "images"))
    other = next((data / "val" / "labels").glob("*.png"))
    by_folder = ("--labels", data / "train" / "labels", "--images", data / "train" / "images")
    for words, said in (
        (("--data", data, "--out", data / "labels.json"), "ends in .safetensors"),
        (("--data", data, "--sheet", label), "would overwrite a file of the data"),
        (
            ("--data", data, "--limit", 1, "--sheet", label.with_name("scene1.png")),
            "would overwrite a file of the data",
        ),
        (("--data", data, "--sheet", other), "would overwrite a file of the data"),
        ((*by_folder, "--space", data / "labels.json", "--sheet", photograph), "would overwrite a file of the data"),
        (("--data", data, "--space", space, "--out", space), "would overwrite a file of the data"),
        (("--data", data, "--sheet", folder), "is a folder"),
        (("--data", data, "--sheet", tmp_path / "gone" / "a.png"), "there is no folder"),
        (("--data", data, "--out", label / "a.safetensors"), "there is no folder"),
        (("--data", data, "--sheet", tmp_path / "linked.png"), "is the model file"),
    ):
        code, _, err = run(copy, *words)
        assert code == 1 and said in err and err.count("\n") == 1, (words, err)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not png.exists() and not model.exists()


def test_imported_styles_say_only_where_they_are_from(run: Any, tmp_path: Path) -> None:
    unsized = {name: tensor for name, tensor in clusters().items() if not name.endswith("sizes")}
    code, out, err = run(write_styled_model(tmp_path / "imported.safetensors", styles=unsized))
    assert code == 0, err
    assert "Taken from scenes, train." in out and "seed" not in out and "1/64" not in out


# -------------------------------------------------------------------------------------------------------- the benchmark


@pytest.mark.slow
def test_the_benchmark_runs(feature_model: Path, tmp_path: Path) -> None:
    toy.write(tmp_path / "scenes", 20, height=64, width=128, time="day")
    script = Path(__file__).parents[1] / "benchmarks" / "styles_on_toy.py"
    words = (feature_model, tmp_path / "scenes", "--out", tmp_path / "out", "--layouts", 3, "--device", "cpu")
    done = subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())["figures"]
    assert {f["section"] for f in figures} == {"clusters", "surface", "hue", "locality", "reconstruction"}
    assert all(np.isfinite(f["value"]) for f in figures)
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "car-modes.png",
        "eight-styles.png",
        "reconstruction.png",
    }
