"""`gesso import`: official checkpoints of every kind become model files and run folders; whatever is wrong is refused."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shlex
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import gesso
from gesso.checkpoints import Model, load_model, load_state, read_info, states
from gesso.data.spaces import published
from gesso.errors import ModelFileError
from gesso.importers.files import read_weights
from gesso.labels import LabelClass, LabelSpace, Semantics
from gesso.networks.pix2pixhd import pool_instances
from support import Golden, golden_folder
from test_importers import Discriminators, Global, Local, randomised

pytestmark = pytest.mark.usefixtures("one_thread")

TOY = published("toy")
CLASSES, FEATURES = len(TOY), 2
Weights = dict[str, Tensor]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(gesso: Command) -> Command:
    """Run `gesso ...` in this process: exit code, output and errors."""
    return gesso


# ------------------------------------------------------------------------------------------- small official checkpoints


def instance(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels)


def weights(network: nn.Module) -> Weights:
    return dict(randomised(network).state_dict())


def generator(channels: int) -> nn.Module:
    return Global(channels, 4, 2, 1, instance)


def official(name: str) -> nn.Module:
    """A network as the official code builds it, for toy classes with boundaries, and two features where it has any."""
    return {
        "G": lambda: generator(CLASSES + 1),
        "G feat": lambda: generator(CLASSES + 1 + FEATURES),
        "local": lambda: Local(CLASSES + 1, 2, 1, 1, instance, levels=2, depth=1),
        "local feat": lambda: Local(CLASSES + 1 + FEATURES, 2, 2, 1, instance, levels=1, depth=2),
        "E": lambda: Global(3, 4, 3, 0, instance, out=FEATURES),
        "D": lambda: Discriminators(CLASSES + 1 + 3, 4, 1, 2, instance, with_features=True),
        "D plain": lambda: Discriminators(CLASSES + 1 + 3, 4, 1, 2, instance, with_features=False),
    }[name]()


def clusters(path: Path, features: int = FEATURES, ids: tuple[int, ...] = (2, 9)) -> Path:
    """Centres of as many clusters as the class id says, plus one."""
    random = np.random.default_rng(4)
    document = {key: random.uniform(-1, 1, (abs(key) + 1, features)).astype(np.float32) for key in ids}
    with path.open("wb") as file:
        np.save(file, np.array(document, dtype=object), allow_pickle=True)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Official files of every kind; the names do not say what they hold."""
    found = {}
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for number, name in enumerate(("G", "G feat", "local", "local feat", "E", "D", "D plain")):
        found[name] = folder / f"{number}.pth"
        torch.save(weights(official(name)), found[name])
    found["clusters"] = clusters(folder / "7.npy")
    return found


def layout(multiple: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) toy classes and object ids."""
    random = np.random.default_rng(3)
    label = random.integers(CLASSES, size=(2, 4)).repeat(multiple, axis=0).repeat(multiple, axis=1)
    return label, label * 1000 + 1


def semantics(boundary: bool = True) -> Tensor:
    label, ids = (torch.from_numpy(a)[None] for a in layout())
    return Semantics(classes=CLASSES, boundary=boundary).encode({"label": label, "instance": ids})


# ------------------------------------------------------------------------------------------------------ what comes out


@pytest.mark.parametrize("name", ["G", "local"])
def test_a_generator_alone(command: Command, files: dict[str, Path], tmp_path: Path, name: str) -> None:
    out = tmp_path / "made" / "model.safetensors"
    code, said, errors = command("import", files[name], "--labels", "toy", "-o", out)
    assert (code, errors) == (0, "")
    info = read_info(out)
    assert (info.recipe, info.preset, info.step, info.style, info.styles) == ("pix2pixhd", "", 0, None, None)
    assert info.semantics == Semantics(classes=CLASSES, boundary=True)
    assert info.label_space == TOY
    ours, theirs = load_model(out).networks["generator"], randomised(official(name))
    assert info.preprocessing == {**info.preprocessing, "resize": "none", "multiple": ours.multiple}
    torch.testing.assert_close(ours(semantics()), theirs(semantics()))
    count = sum(p.numel() for p in theirs.parameters())
    assert f"{count:,} parameters" in said
    assert f"{CLASSES + 1} channels = {CLASSES} classes of toy + instance boundaries" in said
    assert f"gesso generate {out} LAYOUTS" in said and "gesso styles" not in said and "--init-from" not in said
    assert [path.name for path in out.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["G feat", "local feat"])
def test_generator_encoder_and_clusters_in_any_order(
    command: Command, files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "model.safetensors"
    code, said, errors = command("import", files["clusters"], files["E"], files[name], "--labels", "toy", "-o", out)
    assert (code, errors) == (0, "")
    model = load_model(out)
    assert model.info.style and model.info.style.model_dump() == {
        "kind": "features",
        "channels": 2,
        "regions": "instance",
    }
    assert model.info.styles and (model.info.styles.origin, model.info.styles.modes) == ("7.npy", 10)
    assert model.info.semantics == Semantics(classes=CLASSES, boundary=True)
    given_ = np.load(files["clusters"], allow_pickle=True).item()
    assert model.styles.keys() == {"2.centres", "9.centres"}
    assert all(np.array_equal(model.styles[f"{key}.centres"].numpy(), given_[key]) for key in (2, 9))
    image, ids = torch.rand(1, 3, 32, 64) * 2 - 1, torch.from_numpy(layout()[1])[None]
    wanted = pool_instances(randomised(official("E"))(image), ids)
    features = model.networks["encoder"](image, ids)
    torch.testing.assert_close(features, wanted)
    theirs = randomised(official(name))(torch.cat([semantics(), wanted], dim=1))
    torch.testing.assert_close(model.networks["generator"](semantics(), features), theirs)
    assert model.info.preprocessing["multiple"] == 8, "the encoder halves once more than the generator"
    assert "modes of 2 classes: road 3, car 10" in said
    assert f"gesso styles {out} --data DATA" in said


def test_clusters_may_come_without_encoder_and_features_per_class(
    command: Command, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    words = ["import", files["G feat"], files["clusters"], "--labels", "toy", "--label-features", "-o", out]
    code, said, errors = command(*words)
    assert (code, errors) == (0, "")
    model = load_model(out)
    assert set(model.networks) == {"generator"}
    assert model.info.style and model.info.style.regions == "label"
    assert "2 of style per class" in said and "gesso styles" not in said


def test_from_files_to_photographs(command: Command, files: dict[str, Path], tmp_path: Path) -> None:
    """The whole way: import, info, generate, and in Python with other styles."""
    out = tmp_path / "model.safetensors"
    command("import", files["G feat"], files["E"], files["clusters"], "--labels", "toy", "-o", out)
    code, said, errors = command("info", out)
    assert (code, errors) == (0, "")
    assert "pix2pixhd.InstanceEncoder" in said
    label, ids = layout()
    for name, values in (("labels", TOY.to_values(label).astype(np.uint8)), ("instances", ids.astype(np.uint16))):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "scene.png")
    words = ["--labels", tmp_path / "labels", "--instances", tmp_path / "instances", "--out", tmp_path / "made"]
    code, _, errors = command("generate", out, *words, "--device", "cpu")
    assert code == 0, errors
    with Image.open(tmp_path / "made" / "scene.png") as image:
        assert image.size == (64, 32)
    synth = gesso.load(out, device="cpu")
    pictures = [synth(label, ids, seed=seed) for seed in range(4)]
    assert all(p.shape == (32, 64, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) > 1, "seeds choose other modes"
    assert np.array_equal(synth(label, ids, seed=2), pictures[2])


def test_a_generator_without_boundaries(command: Command, tmp_path: Path) -> None:
    path, out = tmp_path / "G.pth", tmp_path / "model.safetensors"
    torch.save(weights(generator(CLASSES)), path)
    for flags in ([], ["--no-boundary"]):
        code, said, errors = command("import", path, "--labels", "toy", *flags, "-o", out)
        assert (code, errors) == (0, "")
        assert read_info(out).semantics == Semantics(classes=CLASSES, boundary=False)
        assert f"{CLASSES} channels = {CLASSES} classes of toy" in said


def test_a_channel_for_ignored_pixels(command: Command, files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    assert command("import", files["G"], "--labels", "toy", "--dont-care", "--no-boundary", "-o", out)[0] == 0
    assert read_info(out).semantics == Semantics(classes=CLASSES, dont_care=True, boundary=False)
    wider = tmp_path / "G.pth"
    torch.save(weights(generator(CLASSES + 2)), wider)
    code, said, _ = command("import", wider, "--labels", "toy", "--dont-care", "-o", out)
    assert code == 0 and "+ ignored pixels + instance boundaries" in said
    assert read_info(out).semantics == Semantics(classes=CLASSES, dont_care=True, boundary=True)


def test_pictures_as_input(command: Command, tmp_path: Path) -> None:
    """--label_nc 0."""
    path, out = tmp_path / "G.pth", tmp_path / "model.safetensors"
    network = generator(3)
    torch.save(weights(network), path)
    code, said, errors = command("import", path, "--labels", "none", "-o", out)
    assert (code, errors) == (0, "")
    info = read_info(out)
    assert info.label_space is None and info.semantics == Semantics(source_channels=3)
    assert "3 channels = a picture" in said and "boundaries" not in said
    assert gesso.load(out, device="cpu")(np.zeros((16, 16, 3), np.uint8)).shape == (16, 16, 3)
    torch.save(weights(generator(4)), path)
    assert "--no_instance" in command("import", path, "--labels", "none", "-o", out)[1]


def test_layouts_are_scaled_to_a_width(command: Command, files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    code, said, _ = command("import", files["local"], "--labels", "toy", "--width", 40, "-o", out)
    assert code == 0 and "scaled to a width of 40, in multiples of 8" in said
    preprocessing = read_info(out).preprocessing
    assert [preprocessing[key] for key in ("resize", "width", "multiple")] == ["scale_width", 40, 8]
    Image.fromarray(layout()[0].astype(np.uint8)).save(tmp_path / "scene.png")
    code, _, errors = command("generate", out, tmp_path / "scene.png", "--out", tmp_path / "made", "--device", "cpu")
    assert code == 0, errors
    with Image.open(tmp_path / "made" / "scene.png") as image:
        assert image.size == (40, 20)


def test_the_label_space_must_be_named(command: Command, files: dict[str, Path], tmp_path: Path) -> None:
    code, _, errors = command("import", files["G"], "-o", tmp_path / "model.safetensors")
    assert code == 2 and "--labels" in errors and "gesso import --help" in errors


SPACE = LabelSpace(
    name="yard",
    ignore=(5, 255),
    classes=(
        LabelClass(name="ground", values=(4,), colour=(1, 1, 1)),
        LabelClass(name="plate", values=(-1,), colour=(2, 2, 2)),
        LabelClass(name="wall", values=(0, 2), colour=(3, 3, 3)),
    ),
)


def test_clusters_find_their_classes_by_file_value(command: Command, tmp_path: Path) -> None:
    SPACE.save(tmp_path / "labels.json")
    torch.save(weights(generator(3 + FEATURES)), tmp_path / "G.pth")
    clusters(tmp_path / "c.npy", ids=(4, -1, 0, 2, 5))
    out = tmp_path / "model.safetensors"
    code, said, errors = command(
        "import", tmp_path / "G.pth", tmp_path / "c.npy", "--labels", tmp_path / "labels.json", "-o", out
    )
    assert (code, errors) == (0, "")
    given_ = np.load(tmp_path / "c.npy", allow_pickle=True).item()
    found = {key: value.numpy() for key, value in load_model(out).styles.items()}
    assert found.keys() == {"0.centres", "1.centres", "2.centres"}
    assert np.array_equal(found["0.centres"], given_[4]) and np.array_equal(found["1.centres"], given_[-1])
    assert np.array_equal(found["2.centres"], np.concatenate([given_[0], given_[2]])), "merged classes keep all modes"
    assert "Left out: clusters of classes that yard ignores (5)." in said
    assert "channel 0 is ground, whose value is 4" in said


# ------------------------------------------------------------------------------------------------------- the run folder


@pytest.mark.parametrize("name", ["D", "D plain"])
def test_a_run_folder_that_training_goes_on_from(
    command: Command, files: dict[str, Path], tiny_dataset: Path, tmp_path: Path, name: str
) -> None:
    run, out = tmp_path / "run", tmp_path / "model.safetensors"
    run.mkdir()  # an empty folder will do
    words = ["import", files["G feat"], files["E"], "--labels", "toy", "--discriminator", files[name], "--run", run]
    code, said, errors = command(*words, "-o", out)
    assert (code, errors) == (0, "")
    assert f"--no-dont-care --init-from {run} --out NEW_RUN" in said
    assert sorted(path.name for path in run.iterdir()) == ["model.safetensors", "state"]
    assert load_model(run / "model.safetensors").hash == load_model(out).hash
    document, parts = load_state(states(run / "state")[-1])
    assert (document["step"], document["imported"]) == (0, True)
    assert document["networks"]["discriminator"] == {
        "in_channels": CLASSES + 4, "width": 4, "layers": 1, "scales": 2, "norm": "instance",
    }  # fmt: skip
    assert parts["optimizers"] == parts["averaged"] == {}
    model = load_model(out)
    for role, network in model.networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(parts["networks"][f"{role}.{key}"], tensor)
    scores = sorted(tuple(t.shape) for t in official(name).state_dict().values())
    assert sorted(tuple(t.shape) for k, t in parts["networks"].items() if k.startswith("discriminator.")) == scores


SIZE = "--resize fixed --height 32 --width 64".split()
SHORT = "--no-vgg --workers 0 --device cpu --stop-at 1".split()


def printed(said: str) -> list[str]:
    """The command that goes on with training, without `gesso`."""
    line = next(line for line in said.splitlines() if "gesso train" in line)
    return shlex.split(line.partition("gesso ")[2])


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (["G"], []),
        (["G feat", "E"], []),
        (["G feat", "E"], ["--label-features"]),
        (["G"], ["--no-boundary", "--dont-care"]),  # as many channels; toy data have instances
        (["local"], ["--width", "64"]),
        (["local feat", "E"], []),
    ],
)
def test_training_goes_on_with_what_is_printed(
    command: Command, files: dict[str, Path], tiny_dataset: Path, tmp_path: Path, names: list[str], more: list[str]
) -> None:
    run, further = tmp_path / "a run", tmp_path / "further"
    if names == ["local"]:  # two enhancers need three discriminators
        torch.save(weights(Discriminators(CLASSES + 4, 4, 2, 3, instance, with_features=True)), files["D"])
    read = [files[name] for name in names]
    words = ["import", *read, "--labels", "toy", "--discriminator", files["D"], "--run", run, *more]
    code, said, errors = command(*words)
    assert code == 0, errors
    wanted = printed(said)
    size = [] if "--resize" in wanted else SIZE
    here = [{"DATA": tiny_dataset, "NEW_RUN": further}.get(word, word) for word in wanted]
    code, said, errors = command(*here, *size, *SHORT)
    assert code == 0, (said, errors)
    before, after = (load_state(states(folder / "state")[-1])[1]["networks"] for folder in (run, further))
    assert before.keys() == after.keys()
    for role in {name.partition(".")[0] for name in before}:
        gaps = [(before[k] - after[k]).abs().max().item() for k in before if k.startswith(role)]
        assert 0 < max(gaps) <= 2.5e-4, f"one step of Adam from the imported {role}"


def test_it_is_said_when_training_cannot_go_on(command: Command, files: dict[str, Path], tmp_path: Path) -> None:
    words = ["--labels", "toy", "--discriminator", files["D"], "--run"]
    code, said, _ = command("import", files["local"], *words, tmp_path / "few")
    assert code == 0 and "gesso train" not in said and "2 enhancers need 3 discriminators" in said
    code, said, _ = command("import", files["G feat"], files["clusters"], *words, tmp_path / "blind")
    assert code == 0 and "gesso train" not in said and "import again with latest_net_E.pth" in said


# ----------------------------------------------------------------------------------------------- how weights are stored


def stored(path: Path, tensors: Weights, how: str) -> Path:
    if how == "safetensors":
        save_file(tensors, path)
    elif how == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=how != "legacy")
    return path


@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors", "parallel"])
def test_formats_of_weights(tmp_path: Path, how: str) -> None:
    tensors = weights(official("G"))
    found = read_weights(stored(tmp_path / "G.pth", tensors, how))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_half_precision_becomes_single(command: Command, tmp_path: Path) -> None:
    tensors = {name: tensor.half() for name, tensor in weights(official("G")).items()}
    torch.save(tensors, tmp_path / "G.pth")
    out = tmp_path / "model.safetensors"
    assert command("import", tmp_path / "G.pth", "--labels", "toy", "-o", out)[0] == 0
    ours = load_model(out).networks["generator"].state_dict()
    assert torch.equal(ours["trunk.stem.1.weight"], tensors["model.1.weight"].float())


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.fixture
def refuse(command: Command, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail with one paragraph and leave every file as it was; what it says."""

    def content() -> dict[str, tuple[int, int]]:
        found = ((path, path.stat()) for path in sorted(tmp_path.rglob("*")))
        return {str(path): (about.st_size, about.st_mtime_ns) for path, about in found}

    def run(*words: object) -> str:
        before = content()
        code, _, errors = command("import", *words)
        assert code == 1, errors
        assert errors.startswith("gesso: ") and errors.count("\n") == 1 and "Traceback" not in errors, errors
        assert content() == before
        return errors

    return run


Refuse = Callable[..., str]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("G G2 --labels toy", "0.pth and {G2} are both generators"),
        ("G local --labels toy", "are both generators"),
        ("G E E --labels toy", "are both encoders"),
        ("G clusters clusters --labels toy", "are both clusters"),
        ("E clusters --labels toy", "There is no generator among"),
        ("G D --labels toy", "is a discriminator: give it with --discriminator"),
        ("G absent --labels toy", "There is no file {absent}"),
        ("G folder --labels toy", "There is no file {folder}"),
        ("G --labels tyo", "'tyo' is neither a published label space nor a file"),
        ("G --labels cityscapes", "takes 12 channels, but cityscapes has 35 classes, instance boundaries may take 1: 35 or 36. "),
        ("G --labels cityscapes", "name a label space of 11 classes (with boundaries) or 12 (without)"),
        ("G --labels toy --no-boundary", "leave out --no-boundary"),
        ("G E --labels toy", "leave out encoder and clusters"),
        ("G+feat --labels toy", "give the encoder (latest_net_E.pth) if 2 or 3 channels are style"),
        ("plain --labels toy --boundary", "give --no-boundary instead of --boundary"),
        ("more --labels toy", "give --dont-care if ignored pixels"),
        ("picture --labels toy", "give --labels none if it takes pictures"),
        ("G+feat E --labels none", "pictures, which have no style, boundaries or ignored pixels"),
        ("G --labels none --boundary", "pictures, which have no style, boundaries or ignored pixels"),
        ("G --labels toy --label-features", "these files have no features"),
        ("G+feat E wide --labels toy", "{wide}: class 2 has 3 numbers per cluster, a style has 2. This looks like the table"),
        ("G+feat E wider --labels toy", "{wider}: class 2 has 4 numbers per cluster, a style has 2. Give the"),
        ("G+feat E strange --labels toy", "{strange} has clusters of class 70, which toy (11 classes) does not know"),
        ("G+feat E ignored --labels toy", "clusters only of classes that toy ignores"),
        ("G --labels toy --width 0", "--width 0: at least 1 pixel"),
        ("colours --labels toy", "makes pictures of 5 channels"),
        ("text --labels toy", "cannot be read as weights of torch"),
        ("empty --labels toy", "cannot be read as weights of torch"),
        ("cut --labels toy", "cannot be read as weights of torch"),
        ("cut+legacy --labels toy", "cannot be read as weights of torch"),
        ("cut+safetensors --labels toy", "cannot be read as safetensors"),
        ("bomb --labels toy", "it unpacks to"),
        ("nested --labels toy", "model is a dict instead of a tensor"),
        ("number --labels toy", "holds something else (type int) than a state dict"),
        ("nothing --labels toy", "holds something else (type dict) than a state dict"),
        ("other --labels toy", "holds no network of pix2pix, pix2pixHD or SPADE: its tensors are called fc.weight"),
        ("nan --labels toy", "model.4.bias holds values that are not finite"),
        ("sparse --labels toy", "model.4.bias is a torch.float32 tensor (torch.sparse_coo, cpu)"),
        ("meta --labels toy", "model.4.bias is a torch.float32 tensor (torch.strided, meta)"),
        ("bool --labels toy", "model.4.bias is a torch.bool tensor"),
        ("shared --labels toy", "claims the shape"),
        ("unet --labels toy", "The weights lack model.model.3.weight"),
        ("model --labels toy", "holds no network of pix2pix, pix2pixHD or SPADE: its tensors are called generator."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    refuse: Refuse, files: dict[str, Path], tiny_model: Path, tmp_path: Path, words: str, said: str
) -> None:
    names = [word.replace("+", " ") for word in words.split()]
    places = files | {name: tmp_path / f"{name.replace(' ', '-')}.bin" for name in ("absent", "folder", *WRONG)}
    places["folder"].mkdir()
    places["model"] = tiny_model
    for name in set(names) & WRONG.keys():
        WRONG[name](places[name])
    given_ = [places.get(name, name) for name in names]
    assert said.format(**places) in refuse(*given_, "-o", tmp_path / "out.safetensors")


def saver(change: Callable[[Weights], Any]) -> Callable[[Path], object]:
    """Write weights of a generator that were changed."""

    def save(path: Path) -> None:
        tensors = weights(official("G"))
        changed = change(tensors)
        torch.save(tensors if changed is None else changed, path)

    return save


def cut(how: str) -> Callable[[Path], object]:
    """Write the first two thirds of a file."""

    def save(path: Path) -> None:
        content = stored(path, weights(official("G")), how).read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])

    return save


def bomb(path: Path) -> None:
    torch.save(weights(official("G")), path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content + bytes(10**6) if entry.endswith("/data/0") else content)


WRONG: dict[str, Callable[[Path], object]] = {
    "G2": saver(lambda tensors: None),
    "plain": lambda path: torch.save(weights(generator(CLASSES)), path),
    "more": lambda path: torch.save(weights(generator(CLASSES + 2)), path),
    "picture": lambda path: torch.save(weights(generator(3)), path),
    "wide": lambda path: clusters(path, features=FEATURES + 1),
    "wider": lambda path: clusters(path, features=FEATURES + 2),
    "strange": lambda path: clusters(path, ids=(2, 70)),
    "ignored": lambda path: clusters(path, ids=(255,)),
    "colours": lambda path: torch.save(weights(Global(CLASSES + 1, 4, 2, 1, instance, out=5)), path),
    "text": lambda path: path.write_text("<!DOCTYPE html><html>not found</html>"),
    "empty": lambda path: path.write_bytes(b""),
    "cut": cut("zip"),
    "cut legacy": cut("legacy"),
    "cut safetensors": cut("safetensors"),
    "bomb": bomb,
    "nested": saver(lambda tensors: {"model": tensors, "epoch": 3}),
    "number": saver(lambda tensors: 3),
    "nothing": saver(lambda tensors: {}),
    "other": saver(lambda tensors: {"fc.weight": torch.zeros(3)}),
    "nan": saver(lambda tensors: tensors | {"model.4.bias": torch.tensor([0.0] * 7 + [float("nan")])}),
    "sparse": saver(lambda tensors: tensors | {"model.4.bias": tensors["model.4.bias"].to_sparse()}),
    "meta": saver(lambda tensors: tensors | {"model.4.bias": torch.empty(8, device="meta")}),
    "bool": saver(lambda tensors: tensors | {"model.4.bias": torch.ones(8, dtype=torch.bool)}),
    "shared": saver(lambda tensors: tensors | {"model.4.weight": torch.zeros(1).expand(8, 4, 3, 3)}),
    "unet": saver(lambda tensors: {"model.model.0.weight": torch.zeros(4, 3, 4, 4)}),
}


@pytest.mark.parametrize("name", ["G", "local", "E", "D"])
@pytest.mark.parametrize("fault", ["missing", "surplus", "shape"])
def test_every_key_is_accounted_for(
    refuse: Refuse, files: dict[str, Path], tmp_path: Path, name: str, fault: str
) -> None:
    tensors = torch.load(files[name])
    key = list(tensors)[-3]
    if fault == "missing":
        del tensors[key]
    else:
        key = key if fault == "shape" else f"{key.split('.')[0]}.99.weight"
        tensors[key] = torch.zeros(7)
    torch.save(tensors, files[name])
    words = {
        "E": [files["G feat"], files["E"]],
        "D": [files["G"], "--discriminator", files["D"], "--run", tmp_path / "run"],
    }.get(name, [files[name]])
    said = refuse(*words, "--labels", "toy", "-o", tmp_path / "out.safetensors")
    assert str(files[name]) in said and key in said


def test_the_first_tensor_missing_is_named(refuse: Refuse, files: dict[str, Path], tmp_path: Path) -> None:
    """The one that tells a generator from an encoder."""
    tensors = torch.load(files["G"])
    del tensors["model.1.weight"]
    torch.save(tensors, files["G"])
    assert "lack model.1.weight" in refuse(files["G"], "--labels", "toy", "-o", tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("G --labels toy", "Nothing says where the model goes"),
        ("G --labels toy --run new", "--discriminator and --run go together"),
        ("G --labels toy -o out --discriminator D", "--discriminator and --run go together"),
        ("G --labels toy -o G", "is one of the files that are read"),
        ("G --labels toy -o E E", "is one of the files that are read"),
        ("G --labels toy -o D --discriminator D --run new", "is one of the files that are read"),
        ("G --labels space -o space", "is one of the files that are read"),
        ("G --labels toy --options said -o said", "is one of the files that are read"),
        ("G --labels toy -o opt", "is one of the files that are read"),
        ("G --labels toy --options said -o train_opt", "is one of the files that are read"),
        ("G --labels toy -o folder", "is a folder: give the path of a file"),
        ("G --labels toy --discriminator D --run folder", "is there already and not an empty folder"),
        ("G --labels toy --discriminator D --run G", "is there already and not an empty folder"),
        ("G --labels toy --discriminator D --run new -o inside", "leave out --out"),
        ("G --labels toy --discriminator E --run new", "is of another kind (encoder): give latest_net_D.pth"),
        ("G --labels toy --discriminator G2 --run new", "is of another kind (generator): give latest_net_D.pth"),
        ("G+feat E --labels toy --discriminator D15 --run new", "takes 17 channels; beside this generator it would take 15"),
    ],
)  # fmt: skip
def test_places_that_cannot_be_written_and_discriminators_that_do_not_fit(
    refuse: Refuse, files: dict[str, Path], tmp_path: Path, words: str, said: str
) -> None:
    names = {name: tmp_path / name for name in ("new", "out", "folder", "space", "G2", "D15")} | files
    names["inside"] = names["new"] / "model.safetensors"
    names["folder"].mkdir()
    (names["folder"] / "file").write_text("kept")
    for name, place in (("said", "said.txt"), ("opt", "opt.txt"), ("train_opt", "train_opt.txt")):
        names[name] = files["G"].parent / place
        names[name].write_text("model: pix2pixHD")
    TOY.save(names["space"])
    WRONG["G2"](names["G2"])
    with_features = Discriminators(CLASSES + 1 + FEATURES + 3, 4, 1, 2, instance, with_features=True)
    torch.save(weights(with_features), names["D15"])
    assert said in refuse(*(names.get(word.replace("+", " "), word) for word in words.split()))
    assert not names["new"].exists()


class Calls:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("place", ["G", "E", "D"])
def test_pickles_that_would_run_code_are_refused(
    refuse: Refuse, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = torch.load(files[place]) | {"model.1.bias": Calls()}
    if how == "pickle":
        files[place].write_bytes(pickle.dumps(Calls()))
    else:
        torch.save(evil, files[place], _use_new_zipfile_serialization=how == "zip")
    words = [files["G feat"], files["E"], "--discriminator", files["D"], "--run", tmp_path / "run"]
    words = [files["G"], *words[1:]] if place == "G" else words
    said = refuse(*words, "--labels", "toy", "-o", tmp_path / "out.safetensors")
    assert f"{files[place]} is refused: its pickle asks for {os.name}.system, which is not a tensor" in said
    assert "weights_only" not in said, "nobody is to be talked into trusting the file"
    assert not (tmp_path / "canary").exists()


def test_clusters_that_would_run_code_are_refused(
    refuse: Refuse, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(files["clusters"], np.array({2: Calls()}, dtype=object), allow_pickle=True)
    words = [files["G feat"], files["E"], files["clusters"], "--labels", "toy", "-o", tmp_path / "out.safetensors"]
    assert f"it asks for {os.name}.system, which may run code" in refuse(*words)
    assert not (tmp_path / "canary").exists()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    how=st.sampled_from(["zip", "legacy", "safetensors"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    end=st.booleans(),
)
def test_damaged_weights_never_fail_in_another_way(
    tmp_path: Path, how: str, changes: list[tuple[int, int]], end: bool
) -> None:
    path = stored(tmp_path / "G.pth", {"model.1.weight": torch.ones(3, 2), "model.1.bias": torch.ones(3)}, how)
    content = bytearray(path.read_bytes())
    reach = min(len(content), 400)
    for place, value in changes:
        content[-1 - place % reach if end else place % reach] = value
    path.write_bytes(content)
    try:
        found = read_weights(path)
    except ModelFileError as error:
        assert "G.pth" in str(error)
    else:
        assert all(isinstance(tensor, Tensor) and bool(tensor.isfinite().all()) for tensor in found.values())


# ------------------------------------------------------------------------------------------------------------- full size

G, D, E = "pix2pixHD/G/", "pix2pixHD/D/", "pix2pixHD/E"
FULL = {  # generator: encoder, discriminator
    f"{G}global_1024x512_36ch": ("", ""),
    f"{G}local_2048x1024_36ch": ("", f"{D}num_D3"),
    f"{G}global_1024x512_39ch_feat": (E, f"{D}num_D2_no_ganFeat_loss"),
    f"{G}local_2048x1024_39ch_feat": (E, ""),
}
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def manifests() -> dict[str, Manifest]:
    meta, _ = Golden(golden_folder())("A9_manifests")
    return dict(meta["networks"])


def full_size(path: Path, shapes: dict[str, list[int]], legacy: bool = False) -> Path:
    """An official file with every name and shape of a manifest, and random weights."""
    random = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(shape, generator=random) * 0.02 for name, shape in shapes.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL, ids=lambda name: name.rpartition("/")[2])
def test_full_size(command: Command, manifests: dict[str, Manifest], tmp_path: Path, name: str) -> None:
    encoder, judge = FULL[name]
    if missing := {name, encoder, judge} - {"", *manifests}:
        pytest.skip(f"A9_manifests lists no {', '.join(sorted(missing))}")
    out, run = tmp_path / "model.safetensors", tmp_path / "run"
    words: list[object] = [full_size(tmp_path / "latest_net_G.pth", manifests[name]["params"], legacy="global" in name)]
    if encoder:
        words += [full_size(tmp_path / "latest_net_E.pth", manifests[encoder]["params"])]
        words += [clusters(tmp_path / "features_clustered_010.npy", 3, (7, 26, 33))]
    if judge:
        words += ["--discriminator", full_size(tmp_path / "latest_net_D.pth", manifests[judge]["params"]), "--run", run]
    began = time.perf_counter()
    code, said, errors = command("import", *words, "--labels", "cityscapes", "-o", out)
    took = time.perf_counter() - began
    assert (code, errors) == (0, "")
    assert f"{manifests[name]['n_params']:,} parameters" in said
    check_full_size(load_model(out), bool(encoder))
    if judge:
        document, parts = load_state(states(run / "state")[-1])
        found = [t for k, t in parts["networks"].items() if k.startswith("discriminator.")]
        assert (len(found), sum(t.numel() for t in found)) == (manifests[judge]["n_keys"], manifests[judge]["n_params"])
        assert document["networks"]["discriminator"]["scales"] == manifests[judge]["config"]["num_D"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"name": name, "import_seconds": round(took, 1), "peak_gib_of_the_process": round(peak, 2)}))


def check_full_size(model: Model, styled: bool) -> None:
    """Channels are as published, the clusters are there, and a small layout becomes a finite picture."""
    assert model.info.semantics == Semantics(classes=35, boundary=True)
    assert sorted(model.styles) == (["26.centres", "33.centres", "7.centres"] if styled else [])
    label = torch.randint(35, (1, 64, 128), generator=torch.Generator().manual_seed(1))
    layout = model.info.semantics.encode({"label": label, "instance": label})
    with torch.inference_mode():
        style = model.networks["encoder"](torch.zeros(1, 3, 64, 128), label) if styled else None
        image = model.networks["generator"](layout, style)
    assert image.shape == (1, 3, 64, 128)
    assert bool(image.isfinite().all()) and image.std() > 0


@pytest.mark.slow
def test_faults_at_full_size_are_refused(refuse: Refuse, manifests: dict[str, Manifest], tmp_path: Path) -> None:
    name, key = f"{G}global_1024x512_36ch", "model.20.conv_block.5.weight"
    if name not in manifests:
        pytest.skip(f"A9_manifests lists no {name}")
    shapes, other = manifests[name]["params"], "model.20.conv_block.6.weight"
    missing = {k: shape for k, shape in shapes.items() if k != key}
    renamed = {k.replace(key, other): shape for k, shape in shapes.items()}
    for wrong, said in ((missing, f"missing: {key}; left over: none"), (renamed, f"left over: {other}")):
        path = full_size(tmp_path / "latest_net_G.pth", wrong)
        assert said in refuse(path, "--labels", "cityscapes", "-o", tmp_path / "model.safetensors")
