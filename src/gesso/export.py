"""Model files as ONNX or OpenVINO files: written only where they compute what the network computes.

The graph has layouts in and photographs out, of any height, width and number; what it takes and what it was made of stands in
the file's own metadata, under "gesso" (`gesso.synthesis.graphs.described.ExportedInfo`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gesso.checkpoints import load_model, write_safely
from gesso.errors import ConfigError
from gesso.model_info import ModelInfo
from gesso.synthesis.graphs import openvino_files
from gesso.synthesis.graphs.build import build, input_shapes, refuse_size, require, without_values
from gesso.synthesis.graphs.described import Calibration, ExportedInfo, describe
from gesso.synthesis.graphs.onnx_graph import VALUES
from gesso.synthesis.graphs.parity import Case, Difference, cases, difference, refuse_difference
from gesso.synthesis.graphs.sessions import feeds, onnx_session, openvino_session
from gesso.synthesis.noise import override_statistics
from gesso.synthesis.runtimes import int8_file
from gesso.synthesis.synthesizer import Synthesizer

Target = Literal["onnx", "openvino"]
ENDINGS = {"onnx": ".onnx", "openvino": ".xml"}
LARGEST_CHECK = 256 * 512  # pixels of the layout on which parity is checked, unless a size is asked for
COMPARED = 4  # calibration layouts on which int8 is compared


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: The file; of OpenVINO the .xml and the .bin beside it.
        info: What it says of itself.
        parity: Between network and graph in float32, on random layouts.
        cost: Between network and graph in int8, on calibration layouts; None in float32.
    """

    files: tuple[Path, ...]
    info: ExportedInfo
    parity: Difference
    cost: Difference | None = None


def export(
    model: str | Path,
    to: Target,
    out: str | Path | None = None,
    *,
    size: tuple[int, int] | None = None,
    statistics: Literal["picture", "running"] | None = None,
    layouts: Sequence[Case] | None = None,
    origin: str = "",
    say: Callable[[str], None] = lambda stage: None,
) -> Exported:
    """Write a model file as an ONNX file, or as OpenVINO's pair of files, and check it against the network.

    Args:
        model: A `.safetensors` written by gesso.
        to: "onnx" or "openvino".
        out: Where to; by default beside the model: NAME.onnx, NAME.xml, or NAME.int8.xml.
        size: Height and width of the largest layout on which parity is checked; by default about that of training, 256x512 at
            most.
        statistics: What batch norm of pix2pix takes: of each "picture", or the "running" ones; None is what the model file says.
        layouts: Calibration layouts: with them convolutions are written in int8, for OpenVINO. `calibration_cases` makes them.
        origin: Where those are from, for the file's own description.
        say: Told what is being done.

    Raises:
        ModelFileError: The model file is damaged; or the graph does not compute what the network computes: nothing is written
            then.
        LabelError: The network refuses `size`.
        ConfigError: Something that is needed is not installed, int8 is asked of ONNX or without layouts, or the file's name has
            another ending than its format.
        TrainingError: The disk is full or refuses.
    """
    require(*(("onnx", "onnxruntime") if to == "onnx" else ("onnx", "openvino")))
    path = _destination(Path(model), to, Path(out) if out else None, layouts is not None)
    _check_calibration(to, layouts)
    say(f"reading {model}")
    loaded = load_model(model)
    info = describe(loaded, override_statistics(loaded, statistics))
    size = size or usual_size(loaded.info, info)
    refuse_size(loaded.networks["generator"], input_shapes(loaded.info, size))
    say("writing the graph")
    graph = build(loaded, info)
    opened = graph if to == "onnx" else openvino_files.of_onnx(graph)
    say("comparing with the network")
    session = onnx_session(graph.SerializeToString()) if to == "onnx" else openvino_session(opened)
    given = cases(loaded.info.semantics, info, size)
    parity = difference(loaded, info, session, given)
    refuse_difference(loaded, info, parity, given, str(path))
    cost = None
    if layouts is not None:
        info = info.model_copy(
            update={"precision": "int8", "calibration": Calibration(layouts=len(layouts), origin=origin)}
        )
        fed = [feeds(one.inputs, one.style, tuple(info.inputs)) for one in layouts]
        opened = openvino_files.quantised(opened, fed, say)
        say("comparing with the network")
        cost = difference(loaded, info, openvino_session(opened), layouts[:COMPARED])
        refuse_difference(loaded, info, cost, layouts[:COMPARED], str(path))
    say(f"writing {path}")
    return Exported(_write(opened, to, path, info), info, parity, cost)


def calibration_cases(synth: Synthesizer, layouts: Sequence[tuple[Any, Any]], seed: int = 0) -> list[Case]:
    """Layouts as a graph is calibrated on them: padded, each in a random style.

    Args:
        synth: Of the model that is exported.
        layouts: Label map and instance map, or picture and None, as `Synthesizer` takes them.
        seed: Of the first style; each layout has the next one.
    """
    found = []
    for number, (labels, instances) in enumerate(layouts):
        for inputs, worn in synth.hand(labels, instances, seed=seed + number)[0]:
            found.append(Case(inputs, worn.tensor))
    return found


def usual_size(info: ModelInfo, about: ExportedInfo) -> tuple[int, int]:
    """About the size of training, at most 256x512 pixels in all, that the network takes."""
    said = info.preprocessing
    height, width = said.get("crop") or (said.get("height"), said.get("width"))
    height, width = height or width or 256, width or height or 256
    while height * width > LARGEST_CHECK:
        height, width = height // 2, width // 2
    step, least = about.multiple, about.smallest
    high, wide = (max(round(side / step) * step, least) for side in (height, width))
    return high, wide + (step if high == wide == step else 0)  # SPADE has nothing to normalise in a single pixel


def _destination(model: Path, to: Target, out: Path | None, int8: bool) -> Path:
    ending = ENDINGS[to]
    if out is None:
        return int8_file(model) if int8 else model.with_suffix(ending)
    if out.suffix != ending:
        also = ", and its .bin is written beside it" if to == "openvino" else ""
        raise ConfigError(f"{out} has another ending than a file for {to}: name it {out.with_suffix(ending)}{also}.")
    return out


def _check_calibration(to: Target, layouts: Sequence[Case] | None) -> None:
    if layouts is None:
        return
    if to != "openvino":
        raise ConfigError("int8 is written for OpenVINO alone: export --to openvino, or leave out --int8.")
    if not layouts:
        raise ConfigError("int8 needs layouts to calibrate on, and none came: give some of your own with --data.")
    require("nncf")


def _write(opened: Any, to: Target, path: Path, info: ExportedInfo) -> tuple[Path, ...]:
    """The files, written whole or not at all."""
    if to == "onnx":
        content = without_values(opened).SerializeToString()
        write_safely(path, lambda temporary: _write_bytes(temporary, content))
        return (path,)
    (values,) = [result for result in opened.get_results() if VALUES in result.input(0).get_source_output().get_names()]
    opened.remove_result(values)
    openvino_files.save(opened, path, info)
    return path, path.with_suffix(".bin")


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
