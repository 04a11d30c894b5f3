"""Runtimes: each gives the photograph that PyTorch gives, for the same layouts, styles and seeds, and refuses the same."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from gesso.checkpoints import load_model
from gesso.cli.common import RuntimeName
from gesso.errors import ConfigError, LabelError, ModelFileError, StyleError
from gesso.export import calibration_cases, export
from gesso.synthesis.inputs import Batch
from gesso.synthesis.kinds import Worn
from gesso.synthesis.runtimes import ON_CPU, RUNTIMES, int8_file, open_runtime, runtime_device
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load, read_record
from graphed import MODELS, require_extra
from styled import SIZE, SPACE, clusters, scene, write_scenes, write_styled_model
from support import refused

require_extra()
pytestmark = pytest.mark.usefixtures("one_thread")
Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name) / "model.safetensors") for name, write in MODELS.items()}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with styles, and its int8 export beside it."""
    path = write_styled_model(tmp_path_factory.mktemp("int8") / "model.safetensors", styles=clusters())
    export(path, "openvino", layouts=calibration_cases(load(path, "cpu"), [scene()]), origin="a scene")
    return path


def layouts(height: int = 32, width: int = 64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Three layouts of any size, cut from the scene."""
    label, instance = (np.tile(one, (2, 2))[:height, :width] for one in scene())
    return np.stack([label, label[:, ::-1], label[::-1]]), np.stack([instance, instance[:, ::-1], instance[::-1]])


def near(found: Picture, wanted: Picture, levels: int = 1) -> bool:
    return found.shape == wanted.shape and int(np.abs(found.astype(int) - wanted).max()) <= levels


# ------------------------------------------------------------------------------------------------------ the same picture


def test_the_command_line_offers_every_runtime() -> None:
    assert RuntimeName.__args__ == tuple(RUNTIMES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("model", ["pix2pixhd-local", "spade-concat", "pix2pix-map"])
def test_the_photographs_are_those_of_pytorch(models: dict[str, Path], model: str, name: str) -> None:
    style = Style(noise=False) if model == "pix2pix-map" else None
    wanted, found = (load(models[model], "cpu", runtime=runtime) for runtime in ("plain", name))
    assert (found.runtime, wanted.runtime) == (name, "plain")
    for height, width in ((64, 128), (37, 90)):  # of which no network takes the second: it is padded
        label, instance = layouts(height, width)
        several = found(label, instance, style, seed=3)
        assert several.shape == (3, height, width, 3) and several.dtype == np.uint8
        assert near(several, wanted(label, instance, style, seed=3))
        assert np.array_equal(several[1], found(label[1], instance[1], style, seed=3))


def test_pictures_are_an_input_too(models: dict[str, Path]) -> None:
    wanted, found = (load(models["pictures"], "cpu", runtime=runtime) for runtime in ("plain", "onnx"))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 30, 44, 3)).astype(np.uint8)
    assert near(found(pictures), wanted(pictures))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_styles_and_seeds_mean_the_same(models: dict[str, Path], name: str) -> None:
    wanted, found = (load(models["pix2pixhd"], "cpu", runtime=runtime) for runtime in ("plain", name))
    label, instance = (one[0] for one in layouts())
    chosen = Style(classes={"car": 2}, instances={"26001": (0.5, -0.5, 0.25)})
    pictures = [found(label, instance, style, seed) for style, seed in ((None, 0), (None, 1), (chosen, 0))]
    assert near(pictures[0], wanted(label, instance, seed=0)) and near(pictures[1], wanted(label, instance, seed=1))
    assert near(pictures[2], wanted(label, instance, chosen))
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_z_is_handed_on(models: dict[str, Path]) -> None:
    wanted, found = (load(models["spade-z"], "cpu", runtime=runtime) for runtime in ("plain", "onnx"))
    label = np.tile(layouts()[0][0], (2, 2))
    one, other = (found(label, style=Style(seed=seed)) for seed in (1, 2))
    assert np.abs(one.astype(int) - wanted(label, style=Style(seed=1))).mean() < 0.5
    assert np.abs(one.astype(int) - other).mean() > 2


def test_ids_of_objects_that_need_more_than_31_bits(models: dict[str, Path]) -> None:
    wanted, found = (load(models["pix2pixhd-local"], "cpu", runtime=runtime) for runtime in ("plain", "openvino"))
    label, instance = (one[0] for one in layouts())
    large = np.where(instance == 26001, 2**32 - 1, np.where(instance == 26002, 2**31, instance))
    assert near(found(label, large), wanted(label, large))
    assert near(found(label, large), found(label, instance), 0)


def test_the_runtime_compile_hands_the_network_to_torch(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    handed = []

    def compiler(network: torch.nn.Module, options: dict[str, Any]) -> Any:
        handed.append((type(network).__name__, options))
        return network

    monkeypatch.setattr(torch, "compile", compiler)
    wanted, found = (load(models["pix2pix"], "cpu", runtime=runtime) for runtime in ("plain", "compile"))
    label = layouts(64, 128)[0][0]
    assert near(found(label, seed=4), wanted(label, seed=4), 0)
    assert handed == [("UNetGenerator", {"fallback_random": True})]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own modules about each other
def test_compiling_changes_nothing(models: dict[str, Path]) -> None:
    """At each size, and with the noise that is drawn without compiling."""
    wanted, found = (load(models["pix2pix"], "cpu", runtime=runtime) for runtime in ("plain", "compile"))
    label = layouts(64, 128)[0][0]
    for one, seed in ((label, 1), (label, 2), (label[:, :64], 2)):
        assert near(found(one, seed=seed), wanted(one, seed=seed))
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own modules about each other
def test_without_a_compiler_the_runtime_compile_says_so(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, options: compiled(network, backend=broken))
    label, instance = (one[0] for one in layouts())
    with pytest.raises(
        ConfigError, match=r"could not compile this model .*no C\+\+ compiler.*runtimes torch and plain"
    ):
        load(models["spade"], "cpu", runtime="compile")(label, instance)
    torch.compiler.reset()


# ----------------------------------------------------------------------------------------------------------------- int8


def test_int8_gives_nearly_the_same_picture(calibrated: Path) -> None:
    wanted, found = (load(calibrated, "cpu", runtime=runtime) for runtime in ("plain", "openvino-int8"))
    label, instance = layouts(37, 90)
    gap = np.abs(found(label, instance).astype(int) - wanted(label, instance))
    assert 0 < gap.mean() < 12
    assert found.record()["runtime_file"] == found.record()["runtime_file"].lower()[:64]


def test_int8_without_its_file_names_the_command(models: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*model.int8.xml.*gesso export .* --to openvino --int8 --data"):
        load(models["spade"], runtime="openvino-int8")
    with pytest.raises(ConfigError, match=r"not read from a file.*gesso export MODEL --to openvino --int8 --data"):
        Synthesizer(load_model(models["spade"]), runtime="openvino-int8")


def test_the_int8_file_of_another_model_is_refused(calibrated: Path, models: dict[str, Path], tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    shutil.copy(models["spade"], model)
    for ending in (".xml", ".bin"):
        shutil.copy(int8_file(calibrated).with_suffix(ending), int8_file(model).with_suffix(ending))
    with pytest.raises(ModelFileError, match=r"model.int8.xml was exported from another model.*gesso export"):
        load(model, runtime="openvino-int8")


# --------------------------------------------------------------------------------------------------- records and commands


def test_records_say_which_runtime_it_was(models: dict[str, Path], calibrated: Path) -> None:
    assert "runtime" not in load(models["spade"], "cpu").record()
    for name in ("plain", "onnx", "openvino"):
        assert load(models["spade"], "cpu", runtime=name).record()["runtime"] == name
    record = load(calibrated, "cpu", runtime="openvino-int8").record(seed=3)
    assert (record["runtime"], record["seed"], len(record["runtime_file"])) == ("openvino-int8", 3, 64)


def test_generate_takes_a_runtime(gesso: Any, models: dict[str, Path], tmp_path: Path) -> None:
    from PIL import Image

    scenes = write_scenes(tmp_path / "scenes")
    pictures = {}
    for name in ("plain", "openvino"):
        out = tmp_path / name
        done = gesso("generate", models["pix2pixhd"], scenes, "--out", out, "--runtime", name, "--seed", 2)
        assert done.code == 0, done.err
        pictures[name] = np.asarray(Image.open(out / "one.png"))
        assert read_record(out / "one.png")["runtime"] == name  # type: ignore[index]
    assert pictures["plain"].shape == (*SIZE, 3) and near(pictures["openvino"], pictures["plain"])


def test_the_editor_takes_a_runtime(models: dict[str, Path]) -> None:
    from gesso.cli.edit import load_model as open_model

    assert open_model(models["pix2pixhd"], "auto", "onnx").runtime == "onnx"
    assert open_model(models["pix2pixhd"], "cpu").runtime == "torch"


def test_the_benchmark_times_runtimes_in_turn(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "runtimes.py"
    script = runpy.run_path(str(path))
    names = ["plain", "onnx"]
    script["main"](tiny_model, data=tiny_dataset, runtimes=names, layouts=2, rounds=1, json=tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures["runtimes"]) == names and figures["runtimes"]["plain"]["ratio"] == 1
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in figures["runtimes"].values())
    assert "onnx" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- refusals


def test_sizes_that_the_network_refuses_are_refused_alike(models: dict[str, Path]) -> None:
    """The Synthesizer pads, so only who asks a runtime itself meets this."""
    model = load_model(models["spade"])
    for height, width, said in ((40, 64, "cannot be halved 5 times"), (32, 32, "is a single pixel")):
        inputs: Batch = {name: torch.zeros(1, height, width, dtype=torch.int64) for name in ("label", "instance")}
        errors = []
        for name in ("plain", "onnx", "openvino"):
            with pytest.raises(LabelError, match=said) as caught:
                open_runtime(name, model)(inputs, Worn(None, 0))
            errors.append(str(caught.value))
        assert len(set(errors)) == 1


def test_dropout_is_refused_unless_it_is_off(gesso: Any, models: dict[str, Path], tmp_path: Path) -> None:
    synth = load(models["pix2pix"], runtime="onnx")
    label = layouts(64, 128)[0][0]
    with pytest.raises(StyleError, match=r"The runtime onnx has no dropout.*--no-noise.*runtime torch"):
        synth(label)
    quiet = Style(noise=False)
    assert near(synth(label, style=quiet), load(models["pix2pix"], "cpu", runtime="plain")(label, style=quiet))
    scenes = write_scenes(tmp_path / "scenes")
    words = ["generate", models["pix2pix"], scenes, "--out", tmp_path / "out", "--runtime", "onnx"]
    refused(gesso(*words), "has no dropout", "--no-noise")
    assert gesso(*words, "--no-noise").code == 0


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("onnx", "onnx")])
def test_a_runtime_that_is_not_installed_names_the_extra(
    models: dict[str, Path], name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}, which is not installed: pip install 'gesso\[export\]'"):
        load(models["spade"], runtime=name)


def test_unknown_runtimes_and_other_devices(gesso: Any, models: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="no runtime 'tpu'; choose one of torch, plain, compile, onnx"):
        load(models["spade"], runtime="tpu")
    for name in ON_CPU:
        assert runtime_device(name, "auto") == "cpu"
        with pytest.raises(ConfigError, match=f"The runtime {name} computes on the CPU"):
            runtime_device(name, "cuda")
    ended = gesso("generate", models["spade"], "x", "--runtime", "tpu")
    assert ended.code == 2 and "tpu" in ended.err
    assert len(SPACE) == 11


@pytest.mark.parametrize("name", ["torch", "plain", "onnx", "openvino"])
def test_threads_get_their_own_photographs(models: dict[str, Path], name: str) -> None:
    synthesizer = load(models["pix2pixhd"], "cpu", runtime=name)
    given = [(label, instance) for label, instance in zip(*layouts(64, 128), strict=True)]
    alone = [synthesizer(*one) for one in given]
    assert not np.array_equal(alone[0], alone[1])
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda number: synthesizer(*given[number % 3]), range(18)))
    assert all(np.array_equal(picture, alone[number % 3]) for number, picture in enumerate(together))


LEAVES_SIGNALS_ALONE = """
import faulthandler, gc, signal, sys
from pathlib import Path
from gesso.export import calibration_cases, export
from gesso.synthesis.synthesizer import load
from styled import scene

faulthandler.enable()  # gives the thread a stack for signals, as under pytest
path = Path(sys.argv[1])
export(path, "openvino", layouts=calibration_cases(load(path, "cpu"), [scene()]), origin="a scene")
several = [load(path, "cpu", runtime=name) for name in ("openvino", "openvino-int8", "openvino")]
pictures = [synthesizer(*scene()) for synthesizer in several]
while several:
    del several[0]  # in the order in which they came, not the last one first
    gc.collect()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: print("handled"))
    signal.raise_signal(number)
"""


@pytest.mark.long
def test_signals_are_handled_when_openvino_was_there(tmp_path: Path) -> None:
    """As Ctrl-C, and the end of every worker of a loader: a plugin that is gone must not have left its stack for them."""
    model = write_styled_model(tmp_path / "model.safetensors", styles=clusters())
    program = [sys.executable, "-c", LEAVES_SIGNALS_ALONE, str(model)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    found = subprocess.run(program, capture_output=True, text=True, env=environment, timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-2:] == ["handled", "handled"]
