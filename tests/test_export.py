"""Exported files: they compute what the network computes, say what they are, and are not written where they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gesso.checkpoints import load_model
from gesso.errors import ConfigError, LabelError, ModelFileError
from gesso.export import calibration_cases, export
from gesso.pictures import to_uint8
from gesso.synthesis import graphs
from gesso.synthesis.graphs import onnx_graph, openvino_files, parity, sessions
from gesso.synthesis.graphs.build import build
from gesso.synthesis.graphs.described import ExportedInfo, describe
from gesso.synthesis.graphs.recording import record, without_spectral_norm
from gesso.synthesis.synthesizer import load
from graphed import MODELS, require_extra
from styled import SPACE, scene
from support import refused

require_extra()
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name) / "model.safetensors") for name, write in MODELS.items()}


def description(path: Path) -> ExportedInfo:
    """What a file says of itself, read without gesso."""
    if path.suffix == ".onnx":
        import onnx

        (said,) = [prop.value for prop in onnx.load(path).metadata_props if prop.key == "gesso"]
    else:
        import openvino

        said = openvino.Core().read_model(path).get_rt_info(["gesso"]).astype(str)
    return ExportedInfo.model_validate_json(said)


# ------------------------------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize("name", MODELS)
def test_graphs_compute_what_the_networks_compute(models: dict[str, Path], name: str) -> None:
    import onnx

    model = load_model(models[name])
    info = describe(model)
    graph = build(model, info)
    onnx.checker.check_model(graph, full_check=True)
    size = {"pix2pix": (64, 128), "pix2pix-map": (64, 128), "spade-concat": (64, 128)}.get(name, (32, 96))
    given = parity.cases(model.info.semantics, info, size)
    assert len({case.size for case in given}) == 3 and max(case.size[0] for case in given) == 3
    values = parity.plain_values(model.networks["generator"], model.info.semantics, given[0])
    assert values.std() > 0.02, "of a picture that says nothing, nothing is shown"
    for session in (
        sessions.onnx_session(graph.SerializeToString()),
        sessions.openvino_session(openvino_files.of_onnx(graph)),
    ):
        found = parity.difference(model, info, session, given)
        parity.refuse_difference(model, info, found, given, name)
        assert found.mean < 1e-3 and (name.startswith("spade") or found.largest < 1e-4), str(found)
        assert found.sizes == tuple(case.size for case in given)
        assert found.mean <= found.largest


def test_a_graph_encodes_layouts_as_the_network_does(models: dict[str, Path]) -> None:
    """Every class, ignored pixels, and objects that touch in every direction."""
    model = load_model(models["spade"])
    info = describe(model)
    graph = build(model, info)
    writer = onnx_graph.Writer()
    encoded = onnx_graph.write_encoding(writer, model.info.semantics)
    session = _session_of(writer, encoded, graph)
    rng = np.random.default_rng(2)
    for batch, height, width in ((1, 1, 1), (2, 5, 3), (3, 1, 9), (1, 16, 16)):
        label = torch.from_numpy(rng.integers(0, len(SPACE) + 1, (batch, height, width)))
        instance = torch.from_numpy(rng.integers(-3, 2**32 - 1, (batch, height, width)) // 2**20 * 2**20)
        inputs = {"label": label, "instance": instance}
        (found,) = session(sessions.feeds(inputs, None, ("label", "instance")))
        assert np.array_equal(found, model.info.semantics.encode(inputs).numpy())


def _session_of(writer: onnx_graph.Writer, output: str, like: Any) -> sessions.Session:
    """A session of the beginning of a graph."""
    from onnx import TensorProto, helper

    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    made = helper.make_graph(writer.nodes, "g", list(like.graph.input), outputs, [*writer.constants.values()])
    opset = helper.make_opsetid("", onnx_graph.OPSET)
    model = helper.make_model(made, opset_imports=[opset], ir_version=onnx_graph.IR_VERSION)
    return sessions.onnx_session(model.SerializeToString())


def test_spectral_norm_is_folded_and_weights_are_shared(models: dict[str, Path]) -> None:
    generator = load_model(models["spade"]).networks["generator"]
    before = {key: tensor.clone() for key, tensor in generator.state_dict().items()}
    plain = without_spectral_norm(generator)
    assert {type(m).__name__ for m in plain.modules()}.isdisjoint({"SpectralConv2d"})
    assert plain.start.weight.data_ptr() == generator.start.weight.data_ptr()
    semantics = torch.rand(1, 13, 32, 64)
    with torch.no_grad():
        assert torch.equal(plain(semantics), generator(semantics))
    assert all(torch.equal(before[key], tensor) for key, tensor in generator.state_dict().items())


def test_calls_that_no_one_translated_are_named(models: dict[str, Path]) -> None:
    class Strange(torch.nn.Module):
        def forward(self, semantics: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(semantics, dim=1)

    recording = record(Strange(), ((1, 3, 8, 8),))
    with pytest.raises(AssertionError, match=r"cumsum.*no translation"):
        onnx_graph.write_generator(onnx_graph.Writer(), recording, ["semantics"])


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_the_command_writes_a_file_that_others_can_use(
    gesso: Any, models: dict[str, Path], tmp_path: Path, to: str
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(models["spade-z"].read_bytes())
    done = gesso("export", model, "--to", to)
    assert done.code == 0, done.err
    path = model.with_suffix(".onnx" if to == "onnx" else ".xml")
    written = {path.name, model.name} | ({"model.bin"} if to == "openvino" else set())
    assert {file.name for file in tmp_path.iterdir()} == written
    assert "difference from PyTorch on 6 layouts (1 of 32x64, 3 of 64x32, 2 of 32x96): at most " in done.out
    assert "of values in [-1, 1]" in done.out and "of 255 levels" in done.out
    said, loaded = description(path), load_model(model)
    assert (said.model_hash, said.model, said.precision) == (loaded.hash, loaded.info, "float32")
    assert said.inputs == {
        "label": "(batch, height, width) int32, class indices 0..10, 11 where ignored",
        "z": "(batch, 8) float32",
    }
    assert (said.multiple, said.smallest, said.noise) == (32, 32, "")
    assert said.made_with.keys() >= {"gesso", "torch", "onnx", "openvino"}
    found = _used_elsewhere(path)
    case = parity.Case({"label": torch.from_numpy(found["label"]).long()}, torch.from_numpy(found["z"]))
    values = parity.plain_values(loaded.networks["generator"], loaded.info.semantics, case)
    assert found["photograph"].shape == (2, 64, 96, 3) and found["photograph"].dtype == np.uint8
    assert np.abs(found["photograph"].astype(int) - to_uint8(values)).max() <= 1


def _used_elsewhere(path: Path) -> dict[str, Any]:
    """As a program would that knows nothing of gesso."""
    rng = np.random.default_rng(0)
    fed = {
        "label": rng.integers(0, 12, (2, 64, 96)).astype(np.int32),
        "z": rng.standard_normal((2, 8)).astype(np.float32),
    }
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == ["photograph"]
        return {**fed, "photograph": session.run(["photograph"], fed)[0]}
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # not bfloat16
    assert len(compiled.outputs) == 1
    return {**fed, "photograph": compiled(fed)["photograph"]}


def test_noise_is_off_and_that_is_said(gesso: Any, models: dict[str, Path], tmp_path: Path) -> None:
    done = gesso("export", models["pix2pix"], "--to", "onnx", "-o", tmp_path / "unet.onnx", "--statistics", "running")
    assert done.code == 0, done.err
    assert "noise off: the graph draws no dropout; photographs are those of --no-noise" in done.out
    said = description(tmp_path / "unet.onnx")
    assert said.noise.startswith("off") and said.statistics == "running"


def test_int8_is_calibrated_on_layouts(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.xml"
    done = gesso(
        "export", tiny_model, "--to", "openvino", "--int8", "--data", tiny_dataset, "--calibrate", 3, "-o", out
    )
    assert done.code == 0, done.err
    assert "int8: difference from PyTorch on 3 layouts (1 of 32x64): at most " in done.out
    assert "Statistics" not in done.out, "NNCF's own progress is silent"
    model, said = openvino_files.read(out)
    assert said.precision == "int8" and said.calibration is not None
    assert (said.calibration.layouts, said.calibration.origin) == (3, f"{tiny_dataset.name}, train")
    assert sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) > 4
    assert len(model.outputs) == 1


def test_random_styles_and_padding_reach_the_calibration(models: dict[str, Path]) -> None:
    synth = load(models["pix2pixhd"], "cpu", runtime="plain")
    label, instance = scene()
    first, second = calibration_cases(synth, [(label[:30], instance[:30])] * 2)
    assert first.size == (1, 32, 64) and first.style is not None and second.style is not None
    assert first.style.shape == (1, 3, 32, 64) and not torch.equal(first.style, second.style)


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_graph_that_differs_is_not_written(
    gesso: Any, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = onnx_graph._Translation.leaky
    wrong = {
        torch.nn.functional.leaky_relu: lambda self, x, negative_slope, inplace: right(self, x, negative_slope + 0.05)
    }
    monkeypatch.setattr(onnx_graph, "FUNCTIONS", {**onnx_graph.FUNCTIONS, **wrong})
    for to, name in (("onnx", "spade.onnx"), ("openvino", "spade.xml")):
        done = gesso("export", models["spade"], "--to", to, "-o", tmp_path / name)
        refused(done, name, "does not compute what the network does", "at most", "Nothing was written")
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_no_numbers_are_a_difference(models: dict[str, Path]) -> None:
    model = load_model(models["spade"])
    info = describe(model)
    given = parity.cases(model.info.semantics, info, (32, 64))[:1]
    nothing = np.full((1, 3, 32, 64), np.nan, np.float32)
    found = parity.difference(model, info, lambda fed: [np.zeros((1, 32, 64, 3), np.uint8), nothing], given)
    assert found.largest == np.inf
    with pytest.raises(ModelFileError, match="does not compute"):
        parity.refuse_difference(model, info, found, given, "file")
    with pytest.raises(ModelFileError, match="on average in int8"):
        parity.refuse_difference(model, info.model_copy(update={"precision": "int8"}), found, given, "file")


def test_a_size_that_the_network_refuses(gesso: Any, models: dict[str, Path], tmp_path: Path) -> None:
    done = gesso("export", models["spade"], "--to", "onnx", "--size", "40x64", "-o", tmp_path / "a.onnx")
    refused(done, "A layout of 40x64 cannot be halved 5 times", "multiples of 32")
    with pytest.raises(LabelError, match="A layout of 32x32 is a single pixel"):
        export(models["spade"], "onnx", tmp_path / "a.onnx", size=(32, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--to", "onnx", "--int8", "--data", "x"], ["--int8 is written for OpenVINO alone", "--to openvino"]),
        (["--to", "openvino", "--int8"], ["layouts of your own", "--data DATASET"]),
        (["--to", "openvino", "--data", "x"], ["--data and its flags are for --int8"]),
        (["--to", "openvino", "--int8", "--data", "x", "--calibrate", "0"], ["--calibrate 0: at least 1 layout"]),
        (["--to", "openvino", "-o", "a.onnx"], ["a.onnx has another ending", "a.xml"]),
        (["--to", "onnx", "-o", "a"], ["a has another ending", "a.onnx"]),
        (["--to", "onnx", "--size", "big"], ["'big' is not a size"]),
    ],
)
def test_flags_that_contradict_each_other(
    gesso: Any, models: dict[str, Path], flags: list[str], said: list[str]
) -> None:
    refused(gesso("export", models["spade"], *flags), *said)


def test_int8_without_layouts_is_refused_in_python_too(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="int8 needs layouts"):
        export(models["spade"], "openvino", tmp_path / "a.xml", layouts=[])
    with pytest.raises(ConfigError, match="for OpenVINO alone"):
        export(models["spade"], "onnx", tmp_path / "a.onnx", layouts=[])


def test_a_grid_that_the_file_does_not_say(tmp_path: Path) -> None:
    from whole_styled import write_spade_model

    model = write_spade_model(tmp_path / "model.safetensors", grid=None)
    with pytest.raises(ConfigError, match=r"one aspect ratio alone.*gesso import --size"):
        export(model, "onnx")


def test_a_missing_extra_is_named(gesso: Any, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    refused(gesso("export", models["spade"], "--to", "onnx"), "onnxruntime", "pip install 'gesso[export]'")


def test_pairs_of_openvino_files_belong_together(models: dict[str, Path], tmp_path: Path) -> None:
    one, two = (export(models[name], "openvino", tmp_path / f"{name}.xml").files for name in ("spade", "spade-z"))
    assert openvino_files.read(one[0])[1].model_hash == load_model(models["spade"]).hash
    weights = one[1].read_bytes()
    one[1].write_bytes(weights[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelFileError, match=r"of another export than spade.xml"):
        openvino_files.read(one[0])
    one[1].write_bytes(weights[:-100])
    with pytest.raises(ModelFileError, match="Export the model again"):
        openvino_files.read(one[0])
    one[1].unlink()
    with pytest.raises(ModelFileError, match=r"There is no file .*spade.bin"):
        openvino_files.read(one[0])
    text = two[0].read_text()
    two[0].write_text(text.replace("<gesso value", "<other value"))
    with pytest.raises(ModelFileError, match="says nothing of gesso"):
        openvino_files.read(two[0])
    two[0].write_text(text[: len(text) // 2])
    with pytest.raises(ModelFileError, match="cut off or damaged"):
        openvino_files.read(two[0])


def test_the_description_is_json_for_anyone(models: dict[str, Path]) -> None:
    info = describe(load_model(models["pix2pixhd"]))
    document = json.loads(info.model_dump_json())
    assert list(document["inputs"]) == ["label", "instance", "features"]
    assert document["model"]["label_space"]["classes"][0]["name"] == SPACE.names[0]
    assert document["model"]["preprocessing"]["height"] == 32
    assert graphs.__doc__
