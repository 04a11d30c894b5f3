"""Fixtures for every test, and a last line that says how much of the golden folder was compared, in all processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from gesso.checkpoints import save_model
from gesso.cli import main
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.labels import LabelSpace, Semantics
from gesso.model_info import ModelInfo, NetworkDescription
from gesso.networks import pix2pixhd
from support import COMPARED, Ended, shared_folder

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser, BrowserContext

    from gesso.data.layouts import Listing
    from gesso.synthesis.synthesizer import Synthesizer
    from painted import Canvas

TINY_SIZE = (32, 64)  # height and width of tiny_dataset, and what tiny_model was "trained" at


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:  # one of several processes (pytest-xdist)
        output["compared"] = dict(COMPARED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for item, count in getattr(node, "workeroutput", {}).get("compared", {}).items():
        COMPARED[item] = COMPARED.get(item, 0) + count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COMPARED:
        listed = ", ".join(f"{item} {count}" for item, count in sorted(COMPARED.items()))
        terminalreporter.write_line(
            f"golden: {len(COMPARED)} items, {sum(COMPARED.values())} values compared: {listed}"
        )


@pytest.fixture(scope="session")
def camvid() -> Path:
    return shared_folder("data/camvid")


@pytest.fixture(scope="session")
def cityscapes_sample() -> Path:
    return shared_folder("data/cityscapes_sample")


@pytest.fixture(scope="session")
def coco_stuff_sample() -> Path:
    return shared_folder("data/coco_stuff_sample")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and lose much where something else runs on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights: toy classes, don't-care and boundary channels, sizes in multiples of 4."""
    space = published("toy")
    semantics = Semantics(classes=len(space), dont_care=True, boundary=True)
    arguments = {"in_channels": semantics.channels, "width": 4, "downs": 2, "blocks": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        generator = pix2pixhd.initialise(pix2pixhd.GlobalGenerator(**arguments))
    preprocessing = Preprocessing(resize="fixed", height=TINY_SIZE[0], width=TINY_SIZE[1], flip=True, multiple=4)
    info = ModelInfo(
        recipe="pix2pixhd",
        networks={"generator": NetworkDescription(name="pix2pixhd.GlobalGenerator", arguments=arguments)},
        label_space=space,
        semantics=semantics,
        preprocessing=preprocessing.model_dump(mode="json"),
        step=3,
    )
    path = tmp_path_factory.mktemp("tiny-model") / "model.safetensors"
    save_model(path, {"generator": generator}, info)
    return path


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the camvid convention, toy classes, 32x64: 7 samples to train on and 2 held out; read only."""
    root = tmp_path_factory.mktemp("tiny-dataset")
    space, random = published("toy"), np.random.default_rng(5)
    for split, count in (("train", 7), ("val", 2)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            label, image = _patchwork(space, random)
            Image.fromarray(label).save(root / split / "labels" / f"scene{number}.png")
            Image.fromarray(image).save(root / split / "images" / f"scene{number}.png")
    space.save(root / "labels.json")
    return root


def _patchwork(space: LabelSpace, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """File values of a label map of 8x8 patches, some of them ignored, and a noisy picture in its colours."""
    patches = random.integers(len(space) + 1, size=(TINY_SIZE[0] // 8, TINY_SIZE[1] // 8))
    index = patches.repeat(8, axis=0).repeat(8, axis=1)
    noise = random.integers(-20, 21, size=(*index.shape, 3))
    image = np.clip(space.colours[index].astype(int) + noise, 0, 255).astype(np.uint8)
    return space.to_values(index).astype(np.uint8), image


@pytest.fixture
def gesso(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        return Ended(code, *capsys.readouterr())

    return run


# ----------------------------------------------------------------------------------------------------- pages in a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from paged import launched

    with launched() as browser:
        yield browser


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Somebody who visits the editor."""
    from paged import somebody

    with somebody(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def blank_address(tiny_model: Path) -> Iterator[str]:
    """The editor without examples."""
    from gesso.synthesis.synthesizer import load
    from paged import served

    with served(load(tiny_model, device="cpu"), examples=()) as found:
        yield found


@pytest.fixture(scope="module")
def blank_editor(chromium: Browser, blank_address: str) -> Iterator[Canvas]:
    """A page of it, the same for all tests of a module."""
    from paged import somebody, visit
    from painted import Canvas

    with somebody(chromium) as found:
        yield Canvas(visit(found, blank_address))


# -------------------------------------------------------------------------------------------------------------- the editor


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pix2pixHD model with instance features and styles, of random weights."""
    from styled import clusters, write_styled_model

    return write_styled_model(tmp_path_factory.mktemp("styled-model") / "model.safetensors", styles=clusters())


@pytest.fixture(scope="session")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """Scenes for that model."""
    from gesso.data import layouts
    from styled import write_scenes

    return layouts.find(write_scenes(tmp_path_factory.mktemp("styled-scenes") / "scenes"), "val")


@pytest.fixture(scope="module")
def synthesizer(model_file: Path) -> Synthesizer:
    from gesso.synthesis.synthesizer import load

    return load(model_file, device="cpu")


@pytest.fixture(scope="module")
def client(synthesizer: Synthesizer) -> Iterator[TestClient]:
    """Asks the editor's server, in this process."""
    from fastapi.testclient import TestClient

    from gesso.editor.server import create_app
    from served import LIMITS, LOCAL

    with TestClient(create_app(synthesizer, limits=LIMITS), base_url=LOCAL) as made:
        yield made


@pytest.fixture(scope="module")
def address(model_file: Path, listing: Listing) -> Iterator[str]:
    """The editor with a model that shows what is worn."""
    from gesso.checkpoints import load_model
    from gesso.synthesis.synthesizer import Synthesizer
    from paged import served
    from styled import mirrored

    with served(Synthesizer(mirrored(load_model(model_file))), listing=listing) as found:
        yield found
