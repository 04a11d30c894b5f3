"""`gesso import` of pix2pix and SPADE: what weights tell, what has to be said, channels in the label space's order."""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gesso.checkpoints import load_model, load_state, read_info, states
from gesso.data.spaces import published
from gesso.errors import ModelFileError
from gesso.importers import load_official
from gesso.importers.options import Untold, find_options, read_options
from gesso.importers.order import file_order
from gesso.labels import LabelClass, LabelSpace, Semantics
from support import Ended, Golden, golden_folder, refused
from support import weights as stored_weights

pytestmark = pytest.mark.usefixtures("one_thread")

TOY = published("toy")
CLASSES = len(TOY)
Shapes = dict[str, tuple[int, ...]]
Command = Callable[..., Ended]
HIDDEN = 128


# ------------------------------------------------------------------------------------ small official files, by their facts


def written(path: Path, shapes: Shapes) -> Path:
    """An official file: every tensor random, running variances positive, counts whole."""
    random = torch.Generator().manual_seed(len(shapes))
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        tensors[name] = torch.randn(shape, generator=random) * 0.3
        if name.endswith("running_var"):
            tensors[name] = tensors[name].abs() + 0.5
        elif name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(7)
    torch.save(tensors, path)
    return path


def batch_norm(prefix: str, channels: int, weights: bool = True) -> Shapes:
    names = ["weight", "bias"] * weights + ["running_mean", "running_var"]
    return {f"{prefix}.{name}": (channels,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def unet(channels: int, downs: int, width: int = 2) -> Shapes:
    """The official U-Net with batch norm: block in block, the innermost without normalisation on its way down."""
    widths = [width * min(2**level, 8) for level in range(downs)]
    shapes: Shapes = {"model.model.0.weight": (widths[0], channels, 4, 4)}
    shapes |= {"model.model.3.weight": (2 * widths[0], 3, 4, 4), "model.model.3.bias": (3,)}
    block = "model.model.1.model"
    for level in range(1, downs):
        outer, inner = widths[level - 1], widths[level]
        shapes[f"{block}.1.weight"] = (inner, outer, 4, 4)
        if level < downs - 1:
            shapes |= batch_norm(f"{block}.2", inner) | {f"{block}.5.weight": (2 * inner, outer, 4, 4)}
            shapes |= batch_norm(f"{block}.6", outer)
        else:
            shapes |= {f"{block}.3.weight": (inner, outer, 4, 4)} | batch_norm(f"{block}.4", outer)
        block = f"{block}.3.model"
    return shapes


def patchgan(channels: int, width: int = 2) -> Shapes:
    """The official 16x16 PatchGAN (one layer of stride 2) with batch norm."""
    first = {"model.0.weight": (width, channels, 4, 4), "model.0.bias": (width,)}
    second = {"model.2.weight": (2 * width, width, 4, 4)} | batch_norm("model.3", 2 * width)
    return first | second | {"model.5.weight": (1, 2 * width, 4, 4), "model.5.bias": (1,)}


def pixelgan(channels: int, width: int = 2) -> Shapes:
    first = {"net.0.weight": (width, channels, 1, 1), "net.0.bias": (width,)}
    second = {"net.2.weight": (2 * width, width, 1, 1)} | batch_norm("net.3", 2 * width)
    return first | second | {"net.5.weight": (1, 2 * width, 1, 1)}


def spectral(name: str, shape: tuple[int, ...], bias: bool) -> Shapes:
    found: Shapes = {f"{name}.bias": shape[:1]} if bias else {}
    inputs = shape[1] * shape[2] * shape[3]
    return found | {f"{name}.weight_orig": shape, f"{name}.weight_u": shape[:1], f"{name}.weight_v": (inputs,)}


def spade_layer(name: str, channels: int, semantics: int) -> Shapes:
    found = batch_norm(f"{name}.param_free_norm", channels, weights=False)
    found |= {f"{name}.mlp_shared.0.weight": (HIDDEN, semantics, 3, 3), f"{name}.mlp_shared.0.bias": (HIDDEN,)}
    for leaf in ("mlp_gamma", "mlp_beta"):
        found |= {f"{name}.{leaf}.weight": (channels, HIDDEN, 3, 3), f"{name}.{leaf}.bias": (channels,)}
    return found


def spade_block(name: str, before: int, after: int, semantics: int) -> Shapes:
    middle = min(before, after)
    found = spectral(f"{name}.conv_0", (middle, before, 3, 3), True)
    found |= spectral(f"{name}.conv_1", (after, middle, 3, 3), True)
    found |= spade_layer(f"{name}.norm_0", before, semantics) | spade_layer(f"{name}.norm_1", middle, semantics)
    if before != after:
        found |= spectral(f"{name}.conv_s", (after, before, 1, 1), False)
        found |= spade_layer(f"{name}.norm_s", before, semantics)
    return found


def spade(semantics: int, *, cells: int = 0, most: bool = False, width: int = 2, latent: int = 8) -> Shapes:
    """The official generator, normal or more; from the layout, or from z spread over so many cells."""
    blocks = [("head_0", 16, 16), ("G_middle_0", 16, 16), ("G_middle_1", 16, 16)]
    blocks += [("up_0", 16, 8), ("up_1", 8, 4), ("up_2", 4, 2), ("up_3", 2, 1)]
    found: Shapes = {"fc.weight": (16 * width * (cells or 1), latent), "fc.bias": (16 * width * (cells or 1),)}
    if not cells:
        found["fc.weight"] = (16 * width, semantics, 3, 3)
    for name, before, after in blocks:
        found |= spade_block(name, width * before, width * after, semantics)
    if most:
        found |= spade_block("up_4", width, width // 2, semantics)
    return found | {"conv_img.weight": (3, width // 2 if most else width, 3, 3), "conv_img.bias": (3,)}


def spade_judges(channels: int, width: int = 2) -> Shapes:
    """Two scales of one layer of stride 2, spectral norm beside instance norm."""
    found: Shapes = {}
    for scale in range(2):
        name = f"discriminator_{scale}"
        found |= {f"{name}.model0.0.weight": (width, channels, 4, 4), f"{name}.model0.0.bias": (width,)}
        found |= spectral(f"{name}.model1.0.0", (2 * width, width, 4, 4), False)
        found |= {f"{name}.model2.0.weight": (1, 2 * width, 4, 4), f"{name}.model2.0.bias": (1,)}
    return found


def spade_encoder(width: int = 2, latent: int = 8, downs: int = 5) -> Shapes:
    widths = [3, *(width * min(2**i, 8) for i in range(downs))]
    found: Shapes = {}
    for i in range(downs):
        found |= spectral(f"layer{i + 1}.0", (widths[i + 1], widths[i], 3, 3), False)
    for name in ("fc_mu", "fc_var"):
        found |= {f"{name}.weight": (latent, widths[-1] * 16), f"{name}.bias": (latent,)}
    return found


def options(folder: Path, **values: object) -> Path:
    """An options file as the official codes print it."""
    lines = [f"{key:>25}: {value!s:<30}\t[default: something: else]" for key, value in values.items()]
    path = folder / "opt.txt"
    path.write_text("\n".join(["----------------- Options ---------------", *lines, "----------------- End ------"]))
    return path


@pytest.fixture
def make(gesso: Command, tmp_path: Path) -> Callable[..., Any]:
    """Import files, given by their shapes, and load the model."""

    def run(*files: Shapes | Path, flags: str) -> Any:
        paths = [f if isinstance(f, Path) else written(tmp_path / f"{n}.pth", f) for n, f in enumerate(files)]
        out = tmp_path / "model.safetensors"
        ended = gesso("import", *paths, *shlex.split(flags), "-o", out)
        assert ended.code == 0, ended.err
        return load_model(out), ended.out

    return run


# ------------------------------------------------------------------------------------------------------------- pix2pix


def test_a_unet_as_published(make: Any, tmp_path: Path) -> None:
    model, said = make(unet(3, 6), flags="--labels none")
    info, network = model.info, model.networks["generator"]
    assert (info.recipe, info.label_space, info.semantics) == ("pix2pix", None, Semantics(source_channels=3))
    arguments = info.networks["generator"].arguments
    assert (arguments["downs"], arguments["dropout"], arguments["statistics"]) == (6, 0.5, "picture")
    assert info.style.model_dump()["kind"] == "noise" and info.style.channels == 0
    assert info.preprocessing["multiple"] == 64
    theirs = torch.load(tmp_path / "0.pth")
    kept = {name: value for name, value in network.state_dict().items() if "running" in name or "tracked" in name}
    assert sorted(map(tuple, (v.shape for v in kept.values()))) == sorted(
        tuple(v.shape) for name, v in theirs.items() if "running" in name or "tracked" in name
    )
    assert torch.equal(kept["down.1.norm.running_mean"], theirs["model.model.1.model.2.running_mean"])
    assert "U-Net generator" in said and "3 channels = a picture; dropout as noise" in said


def test_a_unet_without_noise_and_with_running_statistics(make: Any) -> None:
    model, said = make(unet(3, 6), flags="--labels none --no-dropout --statistics running")
    arguments = model.info.networks["generator"].arguments
    assert (arguments["dropout"], arguments["statistics"], model.info.style) == (0.0, "running", None)
    assert "as noise" not in said
    shallow, _ = make(unet(3, 5), flags="--labels none")
    assert shallow.info.style is None, "five halvings leave no place for dropout"


def test_label_maps_in_colours(make: Any) -> None:
    model, said = make(unet(3, 5), flags="--labels toy")
    colours = tuple(tuple(int(part) for part in colour) for colour in TOY.colours)
    assert model.info.semantics == Semantics(classes=CLASSES, colours=colours)
    assert f"3 channels = {CLASSES} classes of toy in their colours" in said and "painted in the colours of toy" in said
    hot, _ = make(unet(CLASSES, 5), flags="--labels toy")
    assert hot.info.semantics == Semantics(classes=CLASSES)


@pytest.mark.parametrize(("classes", "flags", "painted"), [
    (2, "", True), (3, "", True), (3, "--no-boundary", False), (2, "--boundary", False), (2, "--dont-care", False)
])  # fmt: skip
def test_three_channels_are_colours_unless_more_is_said(
    make: Any, tmp_path: Path, classes: int, flags: str, painted: bool
) -> None:
    few = TOY.model_copy(update={"classes": TOY.classes[:classes]})
    few.save(tmp_path / "few.json")
    model, said = make(unet(3, 5), flags=f"--labels {tmp_path / 'few.json'} {flags}")
    found = model.info.semantics
    assert bool(found.colours) == painted and found.channels == 3 and found.classes == classes
    assert ("in their colours" in said) == painted
    assert (found.boundary, found.dont_care) == (flags == "--boundary", flags == "--dont-care")


def test_pix2pix_has_boundaries_where_they_are_asked_for(gesso: Command, make: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "G.pth", unet(CLASSES + 1, 5))
    ended = gesso("import", path, "--labels", "toy", "-o", tmp_path / "model.safetensors")
    wanted = f"name a label space of {CLASSES + 1} classes with --labels"
    refused(ended, f"takes {CLASSES + 1} channels", "give --boundary", "give --dont-care", wanted)
    assert "leave out --no-boundary" not in ended.err
    model, _ = make(path, flags="--labels toy --boundary")
    assert model.info.semantics == Semantics(classes=CLASSES, boundary=True)
    model, _ = make(path, flags="--labels toy --dont-care")
    assert model.info.semantics == Semantics(classes=CLASSES, dont_care=True)


def test_the_options_of_pix2pix(make: Any, tmp_path: Path) -> None:
    options(tmp_path, model="pix2pix", netG="unet_128", no_dropout=True, crop_size=128, preprocess="resize_and_crop")
    model, said = make(unet(3, 6), flags="--labels none")
    assert model.info.networks["generator"].arguments["dropout"] == 0.0
    wanted = {"resize": "fixed", "height": 128, "width": 128}
    assert {key: model.info.preprocessing[key] for key in wanted} == wanted
    assert "opt.txt" in said and "resized to 128x128" in said


@pytest.mark.parametrize("preprocess", ["scale_width_and_crop", "crop", "scale_width", "none"])
def test_only_what_was_resized_to_the_crop_is(make: Any, tmp_path: Path, preprocess: str) -> None:
    options(tmp_path, model="pix2pix", netG="unet_256", crop_size=360, preprocess=preprocess)
    model, said = make(unet(3, 6), flags="--labels none")
    assert model.info.preprocessing["resize"] == "none" and "360" not in said


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"direction": "BtoA", "dataset_mode": "aligned"}, ("BtoA", True)),
        ({"which_direction": "AtoB", "dataset_mode": "aligned"}, ("AtoB", True)),  # of older code
        ({"which_direction": "BtoA", "dataset_mode": "unaligned"}, ("BtoA", None)),
        ({"direction": "elsewhere"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_the_direction_of_pix2pix(make: Any, tmp_path: Path, told: dict[str, str], wanted: tuple[Any, Any]) -> None:
    options(tmp_path, model="pix2pix", netG="unet_256", **told)
    model, said = make(unet(3, 6), flags="--labels none")
    assert (model.info.direction, model.info.side_by_side) == wanted
    assert ("the right half B of files A|B" in said) == (wanted[0] == "BtoA")
    model, _ = make(unet(3, 6), flags="--labels toy")
    assert (model.info.direction, model.info.side_by_side) == (None, None), "label maps are no half of a file"


def test_an_imported_model_takes_the_half_of_its_training(gesso: Command, make: Any, tmp_path: Path) -> None:
    options(tmp_path, model="pix2pix", direction="BtoA", dataset_mode="aligned", crop_size=64)
    make(unet(3, 5), flags="--labels none")
    both = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    for name, pixels in (("pairs/val", both), ("right", both[:, 64:])):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    found = []
    for number, words in enumerate(([tmp_path / "pairs"], ["--sources", tmp_path / "right"])):
        out = tmp_path / f"made{number}"
        ended = gesso("generate", tmp_path / "model.safetensors", *words, "--device", "cpu", "--out", out)
        assert ended.code == 0, ended.err
        found.append(np.asarray(Image.open(out / "0.png")))
    assert np.array_equal(*found)


def test_resnet_generators_are_refused_in_words(gesso: Command, tmp_path: Path) -> None:
    names = ["model.1.weight", "model.10.conv_block.1.weight", "model.10.conv_block.5.weight", "model.26.weight"]
    bare: Shapes = dict.fromkeys(names, (2, 3, 3, 3)) | batch_norm("model.2", 2)
    dropped: Shapes = {
        "model.1.weight": (2, 3, 7, 7),
        "model.1.bias": (2,),
        "model.10.conv_block.6.weight": (2, 2, 3, 3),
    }
    for shapes in (bare, dropped):
        ended = gesso("import", written(tmp_path / "G.pth", shapes), "--labels", "none", "-o", tmp_path / "m")
        refused(ended, "G.pth", "ResNet generator", "U-Nets")
    options(tmp_path, netG="resnet_9blocks")
    ended = gesso("import", written(tmp_path / "G.pth", unet(3, 5)), "--labels", "none", "-o", tmp_path / "m")
    refused(ended, "opt.txt: netG is resnet_9blocks", "U-Nets")


# --------------------------------------------------------------------------------------------------------------- SPADE


def test_normal_and_more_must_be_told_apart(gesso: Command, make: Any, tmp_path: Path) -> None:
    path, out = written(tmp_path / "G.pth", spade(CLASSES + 2)), tmp_path / "model.safetensors"
    refused(gesso("import", path, "--labels", "toy", "-o", out), "G.pth", "normal or more", "opt.txt")
    assert not out.exists()
    for upsampling, multiple in (("normal", 32), ("more", 64)):
        model, said = make(path, flags=f"--labels toy --upsampling {upsampling}")
        assert model.info.networks["generator"].name == "spade.SpadeGenerator"
        assert model.info.networks["generator"].arguments["upsampling"] == upsampling
        assert (model.info.recipe, model.info.preprocessing["multiple"]) == ("spade", multiple)
        assert model.info.semantics == Semantics(classes=CLASSES, dont_care=True, boundary=True)
        assert "SPADE generator" in said and f"{CLASSES} classes of toy + ignored pixels + instance boundaries" in said
    model, _ = make(spade(CLASSES + 2, most=True), flags="--labels toy")
    assert model.info.networks["generator"].arguments["upsampling"] == "most"
    refused(
        gesso("import", path, "--labels", "toy", "--upsampling", "most", "-o", out), "G.pth", "up_4", "normal or more"
    )


def test_statistics_of_batch_norm_are_kept(make: Any, tmp_path: Path) -> None:
    model, _ = make(spade(CLASSES), flags="--labels toy --upsampling normal --no-boundary --no-dont-care")
    theirs = torch.load(tmp_path / "0.pth")
    ours = model.networks["generator"].state_dict()
    for leaf in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(ours[f"blocks.3.shortcut_norm.norm.{leaf}"], theirs[f"up_0.norm_s.param_free_norm.{leaf}"])
    for leaf, old in (("u", "weight_u"), ("v", "weight_v"), ("weight", "weight_orig")):
        assert torch.equal(ours[f"blocks.0.first.{leaf}"], theirs[f"head_0.conv_0.{old}"])


@pytest.mark.parametrize(
    ("channels", "flags", "wanted"),
    [
        (CLASSES, "", (False, False)),
        (CLASSES + 1, "", (True, False)),  # toy ignores values, so the usual reading is a channel for them
        (CLASSES + 1, "--boundary", (False, True)),
        (CLASSES + 1, "--no-dont-care", (False, True)),
        (CLASSES + 2, "", (True, True)),
        (CLASSES + 1, "--dont-care --no-boundary", (True, False)),
    ],
)
def test_what_channels_mean(make: Any, channels: int, flags: str, wanted: tuple[bool, bool]) -> None:
    model, _ = make(spade(channels), flags=f"--labels toy --upsampling normal {flags}")
    assert (model.info.semantics.dont_care, model.info.semantics.boundary) == wanted


def test_a_space_that_ignores_nothing_has_boundaries(make: Any, tmp_path: Path) -> None:
    TOY.model_copy(update={"ignore": ()}).save(tmp_path / "labels.json")
    model, _ = make(spade(CLASSES + 1), flags=f"--labels {tmp_path / 'labels.json'} --upsampling normal")
    assert model.info.semantics == Semantics(classes=CLASSES, boundary=True)


def test_the_options_of_spade(make: Any, gesso: Command, tmp_path: Path) -> None:
    told = {"num_upsampling_layers": "more", "crop_size": 128, "aspect_ratio": 2.0, "no_instance": False}
    options(tmp_path, **told, contain_dontcare_label=False)
    model, said = make(spade(CLASSES + 1), flags="--labels toy")
    assert model.info.networks["generator"].arguments["upsampling"] == "more"
    assert model.info.semantics == Semantics(classes=CLASSES, boundary=True)
    wanted = {"resize": "fixed", "height": 64, "width": 128}
    assert {key: model.info.preprocessing[key] for key in wanted} == wanted
    assert "opt.txt" in said
    ended = gesso("import", tmp_path / "0.pth", "--labels", "toy", "--upsampling", "normal", "-o", tmp_path / "m")
    refused(ended, "says upsampling more, the command normal")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = options(elsewhere, **{**told, "num_upsampling_layers": "normal"})
    model, _ = make(spade(CLASSES + 1), flags=f"--labels toy --options {other}")
    assert model.info.networks["generator"].arguments["upsampling"] == "normal", "the named file wins"


class Calls:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("canary"),)


def test_opt_pkl_is_never_read(gesso: Command, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opt.pkl").write_bytes(pickle.dumps(Calls()))
    make(spade(CLASSES), flags="--labels toy --upsampling normal")
    for protocol in (0, 2):
        (tmp_path / "opt.pkl").write_bytes(pickle.dumps(Calls(), protocol))
        words = [
            "import",
            tmp_path / "0.pth",
            "--labels",
            "toy",
            "--options",
            tmp_path / "opt.pkl",
            "-o",
            tmp_path / "m",
        ]
        refused(gesso(*words), "opt.pkl", "holds no settings", "is never read")
    assert not (tmp_path / "canary").exists()


def test_options_files(tmp_path: Path) -> None:
    path = options(tmp_path, crop_size=256, aspect_ratio=1.0, no_instance=True, name="a: b", broken="1e9")
    found = read_options(path)
    assert (found.number("crop_size"), found.switch("no_instance"), found.text("name")) == (256.0, True, "a: b")
    assert (found.number("broken"), found.switch("crop_size"), found.number("absent")) == (None, None, None)
    assert find_options([tmp_path / "other" / "G.pth", tmp_path / "G.pth"]) == found
    assert find_options([tmp_path / "other" / "G.pth"]).path is None
    wrong = options(tmp_path, num_upsampling_layers="many")
    with pytest.raises(ModelFileError, match="num_upsampling_layers 'many' is unknown; normal, more, most"):
        Untold().completed("spade", read_options(wrong))
    with pytest.raises(ModelFileError, match="There is no file"):
        read_options(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("upsampling", "crop", "ratio", "size"),
    [
        ("more", 512, 2.0, (256, 512)),
        ("normal", 256, 1.0, (256, 256)),
        ("normal", 320, 1.5, (224, 320)),
        ("most", 128, 2.0, None),  # the official code's grid would have no row
    ],
)
def test_sizes_are_rounded_as_in_the_official_code(
    tmp_path: Path, upsampling: str, crop: int, ratio: float, size: tuple[int, int] | None
) -> None:
    found = read_options(options(tmp_path, num_upsampling_layers=upsampling, crop_size=crop, aspect_ratio=ratio))
    assert Untold().completed("spade", found).size == size


def test_a_latent_vector_needs_the_size_of_the_training(gesso: Command, make: Any, tmp_path: Path) -> None:
    path, encoder = written(tmp_path / "G.pth", spade(CLASSES, cells=2)), spade_encoder()
    words = ["import", path, "--labels", "toy", "--upsampling", "normal", "-o", tmp_path / "m"]
    refused(gesso(*words), "G.pth", "latent vector", "--size HEIGHTxWIDTH", "opt.txt")
    refused(gesso(*words, "--size", "40x64"), "--size 40x64 is no multiple of 32")
    refused(gesso(*words, "--size", "64x64"), "G.pth", "2 rows and 2 columns")
    more = ["import", path, "--labels", "toy", "--upsampling", "more", "--size", "64x64", "-o", tmp_path / "m"]
    refused(gesso(*more), "1 rows and 1 columns")  # what is normal is not taken for more
    model, said = make(path, encoder, flags="--labels toy --upsampling normal --size 32x64")
    assert model.info.style.model_dump() == {"kind": "z", "channels": 8, "regions": "instance"}
    assert model.networks["generator"].latent_grid == (1, 2)
    assert model.info.networks["encoder"].name == "spade.StyleEncoder"
    assert model.info.preprocessing["height"] == 32
    assert "a latent vector of 8 numbers" in said and "--style-image PHOTO" in said and "gesso styles" not in said
    alone, _ = make(path, flags="--labels toy --upsampling normal --size 32x64")
    assert set(alone.networks) == {"generator"} and alone.info.style.kind == "z"


def test_encoders_must_fit(gesso: Command, tmp_path: Path) -> None:
    flags = ["--labels", "toy", "--upsampling", "normal", "--size", "32x64", "-o", tmp_path / "m"]
    layout, latent = written(tmp_path / "L.pth", spade(CLASSES)), written(tmp_path / "Z.pth", spade(CLASSES, cells=2))
    encoder, wide = written(tmp_path / "E.pth", spade_encoder()), written(tmp_path / "W.pth", spade_encoder(latent=9))
    refused(gesso("import", layout, encoder, *flags), "E.pth", "begins from the layout")
    refused(gesso("import", latent, wide, *flags), "W.pth is an encoder to 9 numbers", "a latent vector of 8 numbers")


# ------------------------------------------------------------------------------------------- the order of the channels


def test_channels_are_file_values() -> None:
    assert file_order(published("ade20k"), True) == [*range(1, 151), 0]
    assert file_order(published("ade20k"), False) is None, "150 channels do not hold the values 1..150"
    assert file_order(published("coco-stuff"), True) == list(range(183))
    assert file_order(TOY, False) == list(range(CLASSES))
    assert file_order(published("cityscapes"), False) is None, "-1 is no channel"
    assert file_order(published("landscape"), True) is None


COUNTS_FROM_ONE = LabelSpace(
    name="yard",
    ignore=(0,),
    classes=(
        LabelClass(name="ground", values=(2,), colour=(1, 1, 1)),
        LabelClass(name="wall", values=(1,), colour=(2, 2, 2)),
        LabelClass(name="cart", values=(3,), colour=(3, 3, 3)),
    ),
)


@pytest.mark.parametrize("paper", ["spade", "pix2pixhd"])
def test_channels_are_exchanged(make: Any, gesso: Command, tmp_path: Path, paper: str) -> None:
    """As ADE20K: value 0 is ignored and channel 0, the last class is the last channel."""
    COUNTS_FROM_ONE.save(tmp_path / "labels.json")
    flags = f"--labels {tmp_path / 'labels.json'} --dont-care"
    if paper == "spade":
        shapes, kind, told, flags = (
            spade(4),
            "spade.generator",
            {"upsampling": "normal"},
            f"{flags} --upsampling normal",
        )
    else:
        shapes, kind, told = small_global(4), "pix2pixhd.global", {}
    model, said = make(shapes, flags=flags)
    assert "Channels were exchanged: ground, class 0 of yard, is channel 2 of the file" in said
    values = torch.randint(4, (1, 32, 64), generator=torch.Generator().manual_seed(3))
    theirs = load_official(torch.load(tmp_path / "0.pth"), kind, **told).eval()
    official = nn.functional.one_hot(values, 4).permute(0, 3, 1, 2).float()
    label = torch.from_numpy(COUNTS_FROM_ONE.to_indices(values[0].numpy()).astype(np.int64))[None]
    assert model.info.semantics == Semantics(classes=3, dont_care=True)
    with torch.no_grad():
        ours = model.networks["generator"](model.info.semantics.encode({"label": label}))
        torch.testing.assert_close(ours, theirs(official))


def small_global(channels: int) -> Shapes:
    """pix2pixHD's global generator of one halving and one block."""
    sizes = {1: (2, channels, 7, 7), 4: (4, 2, 3, 3), 8: (4, 2, 3, 3), 12: (3, 2, 7, 7)}
    found: Shapes = {f"model.{slot}.weight": shape for slot, shape in sizes.items()}
    found |= {f"model.{slot}.bias": (width,) for slot, width in ((1, 2), (4, 4), (8, 2), (12, 3))}
    for slot in (1, 5):
        found |= {f"model.7.conv_block.{slot}.weight": (4, 4, 3, 3), f"model.7.conv_block.{slot}.bias": (4,)}
    return found


# ------------------------------------------------------------------------------------------------------ run folders

SHORT = "--workers 0 --device cpu --stop-at 1".split()


def trains_on(gesso: Command, said: str, run: Path, data: Path, *flags: str) -> None:
    """The printed command changes every network by one step of Adam."""
    line = next(line for line in said.splitlines() if "gesso train" in line)
    wanted, further = shlex.split(line.partition("gesso ")[2]), run.with_name("further")
    words = [{"DATA": data, "NEW_RUN": further}.get(word, word) for word in wanted]
    ended = gesso(*words, *flags, *SHORT)
    assert ended.code == 0, (ended.out, ended.err)
    before, after = (load_state(states(folder / "state")[-1])[1]["networks"] for folder in (run, further))
    assert before.keys() == after.keys()
    for role in {name.partition(".")[0] for name in before}:
        gaps = [(before[k] - after[k]).abs().max().item() for k in before if k.startswith(role) and "weight" in k]
        assert 0 < max(gaps) <= 1e-3, role


@pytest.mark.parametrize("judge", [patchgan, pixelgan])
def test_pix2pix_trains_on(gesso: Command, tiny_dataset: Path, tmp_path: Path, judge: Callable[..., Shapes]) -> None:
    channels, run = CLASSES + 1, tmp_path / "run"
    path, other = written(tmp_path / "G.pth", unet(channels, 5)), written(tmp_path / "D.pth", judge(channels + 3))
    words = ["import", path, "--labels", "toy", "--dont-care", "--discriminator", other, "--run", run]
    ended = gesso(*words, "--size", "32x64")
    assert ended.code == 0, ended.err
    assert "--preset pix2pix-facades" in ended.out and "VGG" not in ended.out
    trains_on(gesso, ended.out, run, tiny_dataset)


def test_pix2pix_of_pictures_trains_on(gesso: Command, tiny_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    path, judge = written(tmp_path / "G.pth", unet(3, 5)), written(tmp_path / "D.pth", patchgan(6))
    options(tmp_path, direction="BtoA", dataset_mode="aligned")
    for labels in ("none", "toy"):
        folder = run / labels
        ended = gesso("import", path, "--labels", labels, "--discriminator", judge, "--run", folder, "--size", "32x64")
        assert ended.code == 0, ended.err
        assert ("--input colours" in ended.out) == (labels == "toy")
        assert ("--direction BtoA" in ended.out) == (labels == "none")
        trains_on(gesso, ended.out, folder, tiny_dataset)
        (folder.with_name("further")).rename(run / f"{labels}-further")


@pytest.mark.long
@pytest.mark.parametrize("cells", [0, 2])
def test_spade_trains_on(gesso: Command, tiny_dataset: Path, tmp_path: Path, cells: int) -> None:
    channels, run = CLASSES + 2, tmp_path / "run"
    files = [written(tmp_path / "G.pth", spade(channels, cells=cells))]
    files += [written(tmp_path / "E.pth", spade_encoder())] if cells else []
    judge = written(tmp_path / "D.pth", spade_judges(channels + 3))
    words = ["import", *files, "--labels", "toy", "--upsampling", "normal", "--size", "32x64"]
    ended = gesso(*words, "--discriminator", judge, "--run", run)
    assert ended.code == 0, ended.err
    assert "--preset spade-cityscapes" in ended.out and ("--style-encoder" in ended.out) == bool(cells)
    trains_on(gesso, ended.out, run, tiny_dataset, "--no-vgg", "--batch", "2")


# ------------------------------------------------------------------------------------------------------------ refusals


def test_files_of_two_papers_are_refused(gesso: Command, tmp_path: Path) -> None:
    generator, other = written(tmp_path / "G.pth", unet(CLASSES, 5)), written(tmp_path / "E.pth", spade_encoder())
    flags = ["--labels", "toy", "-o", tmp_path / "m"]
    refused(gesso("import", generator, other, *flags), "E.pth (encoder) is of spade", "G.pth of pix2pix")
    judge = written(tmp_path / "D.pth", spade_judges(CLASSES + 3))
    ended = gesso("import", generator, *flags, "--discriminator", judge, "--run", tmp_path / "run")
    refused(ended, "D.pth (discriminator) is of spade")
    narrow = written(tmp_path / "D.pth", patchgan(CLASSES))
    ended = gesso("import", generator, *flags, "--discriminator", narrow, "--run", tmp_path / "run")
    refused(ended, f"beside this generator it would take {CLASSES + 3}")


@pytest.mark.parametrize(
    ("shapes", "flags", "said"),
    [
        (unet(3, 5), "--labels none --upsampling more", "--upsampling is a matter of spade"),
        (spade(CLASSES), "--labels toy --upsampling more --no-dropout", "--dropout is a matter of pix2pix"),
        (small_global(CLASSES), "--labels toy --statistics picture", "--statistics is a matter of pix2pix"),
        (unet(3, 5), "--labels none --width 9 --size 9x9", "--width 9 and --size 9x9"),
        (unet(3, 5), "--labels none --label-features", "these files have no features"),
        (unet(5, 5), "--labels toy", f"takes 5 channels, but toy has {CLASSES} classes"),
        (unet(3, 5), "--labels toy --boundary", "takes 3 channels"),
        (spade(CLASSES + 3), "--labels toy --upsampling normal", f"takes {CLASSES + 3} channels"),
    ],
)
def test_flags_that_do_not_fit(gesso: Command, tmp_path: Path, shapes: Shapes, flags: str, said: str) -> None:
    out = tmp_path / "model.safetensors"
    ended = gesso("import", written(tmp_path / "G.pth", shapes), *shlex.split(flags), "-o", out)
    refused(ended, said)
    assert not out.exists()


@pytest.mark.parametrize("fault", ["missing", "surplus", "shape"])
@pytest.mark.parametrize("shapes", [unet(3, 5), spade(3)], ids=["unet", "spade"])
def test_every_key_is_accounted_for(gesso: Command, tmp_path: Path, shapes: Shapes, fault: str) -> None:
    names = list(shapes)
    key = names[-3] if fault != "surplus" else f"{names[-1].split('.')[0]}.99.weight"
    changed = {k: v for k, v in shapes.items() if k != key} if fault == "missing" else shapes | {key: (7,)}
    flags = ["--labels", "none", *(["--upsampling", "normal"] if "fc.weight" in shapes else [])]
    refused(gesso("import", written(tmp_path / "G.pth", changed), *flags, "-o", tmp_path / "m"), "G.pth", key)


# ---------------------------------------------------------------------------------- weights that the official code made


def saved(path: Path, tensors: dict[str, Tensor], *prefixes: str) -> Path:
    found: dict[str, Tensor] = {}
    for prefix in prefixes:
        found |= stored_weights(tensors, f"{prefix}.")
    torch.save(found, path)
    return path


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(golden_folder())


def test_a_real_unet(golden: Golden, make: Any, tmp_path: Path) -> None:
    meta, tensors = golden("A1_pix2pix")
    path = saved(tmp_path / "latest_net_G.pth", tensors, "net")
    model, _ = make(path, flags="--labels none --statistics running")
    with torch.no_grad():
        found = model.networks["generator"](tensors["in.real_A"].float())
    kept = tensors.get("out.G_eval", found).shape
    golden.agree(meta, "out.G_eval", found[..., : kept[-2], : kept[-1]], tensors)


@pytest.mark.parametrize("variant", ["normal", "more", "most", "vae"])
def test_a_real_spade(golden: Golden, make: Any, tmp_path: Path, variant: str) -> None:
    meta, tensors = golden("A7b_spade_G")
    if f"in.{variant}.label" not in tensors:
        pytest.skip(f"A7b_spade_G has no {variant}")
    config = meta["config"]
    label = tensors[f"in.{variant}.label"].long()[:, 0]
    count = config["label_nc"] + bool(config["dontcare"])
    hot = nn.functional.one_hot(label, count).permute(0, 3, 1, 2).float()
    semantics = torch.cat([hot, tensors[f"in.{variant}.edge"].float()], dim=1) if config["edge"] else hot
    files = [
        saved(
            tmp_path / "latest_net_G.pth", tensors, "net", *([f"net_{variant}"] if variant in ("most", "vae") else [])
        )
    ]
    files += [saved(tmp_path / "latest_net_E.pth", tensors, "netE")] if variant == "vae" else []
    size = "x".join(map(str, label.shape[1:]))
    upsampling = config["variants"][variant]["num_up"]
    model, _ = make(*files, flags=f"--labels none --upsampling {upsampling} --size {size}")
    style = [tensors["out.vae.z"].float()] if variant == "vae" else []
    with torch.no_grad():
        found = model.networks["generator"](semantics, *style)
    kept = tensors.get(f"out.{variant}.eval", found).shape
    golden.agree(meta, f"out.{variant}.eval", found[..., : kept[-2], : kept[-1]], tensors)


# ------------------------------------------------------------------------------------------------------------- full size

FULL = {  # name in A9_manifests: label space, flags, encoder, discriminator
    "pix2pix/G/unet_256_batch": ("none", "", "", "pix2pix/D/basic_70x70_batch"),
    "SPADE/G/ade20k": ("ade20k", "--upsampling normal", "", "SPADE/D/ade20k"),
    "SPADE/G/coco_vae": ("coco-stuff", "--upsampling normal --size 256x256", "SPADE/E/crop_size_ge_256", ""),
    "SPADE/G/cityscapes": ("cityscapes", "--upsampling more", "", "SPADE/D/cityscapes"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_size(golden: Golden, gesso: Command, tmp_path: Path, name: str) -> None:
    labels, flags, encoder, judge = FULL[name]
    networks = golden("A9_manifests")[0]["networks"]
    if missing := {name, encoder, judge} - {"", *networks}:
        pytest.skip(f"A9_manifests lists no {', '.join(sorted(missing))}")

    def file(key: str, letter: str) -> Path:
        entry = networks[key]
        return written(tmp_path / f"latest_net_{letter}.pth", entry["params"] | entry["buffers"])

    out, run = tmp_path / "model.safetensors", tmp_path / "run"
    words: list[object] = [file(name, "G"), *([file(encoder, "E")] if encoder else [])]
    words += ["--discriminator", file(judge, "D"), "--run", run] if judge else []
    ended = gesso("import", *words, "--labels", labels, *shlex.split(flags), "-o", out)
    assert ended.code == 0, ended.err
    assert f"{networks[name]['n_params']:,} parameters" in ended.out
    semantics, config = read_info(out).semantics, networks[name]["config"]
    if labels != "none":
        assert (semantics.dont_care, semantics.boundary) == (
            config["contain_dontcare_label"],
            not config["no_instance"],
        )
    if judge:
        parts = load_state(states(run / "state")[-1])[1]
        found = [key for key in parts["networks"] if key.startswith("discriminator.")]
        assert len(found) == networks[judge]["n_keys"]
    size = 256 if name.startswith("pix2pix") else 64
    network = load_model(out).networks["generator"]
    style = [torch.zeros(1, 256)] if encoder else []
    with torch.inference_mode():
        image = network(torch.zeros(1, semantics.channels, size, size * 2), *style)
    assert image.shape == (1, 3, size, size * 2) and bool(image.isfinite().all())
    print(json.dumps({"name": name, "mib": round(out.stat().st_size / 2**20)}))
