"""What an exported file says of itself, so that it can be used without gesso and without the model file."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gesso.checkpoints import Model
from gesso.errors import ModelFileError
from gesso.model_info import ModelInfo
from gesso.networks.pix2pix import LEVELS_WITHOUT_DROPOUT, UNetGenerator

KEY = "gesso"  # of the metadata, in ONNX and in OpenVINO files
GRAPH_VERSION = 1
STYLE_INPUTS = {"features": "features", "z": "z", "noise": "noise"}
AGAIN = "Export the model again with gesso export."


class Calibration(BaseModel):
    """What int8 was calibrated on.

    Attributes:
        layouts: How many.
        origin: The folder and split that they came from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layouts: int = Field(ge=1)
    origin: str = ""


class ExportedInfo(BaseModel):
    """What an exported file says of itself.

    Attributes:
        graph_version: Of this description and of the inputs and outputs.
        model_hash: Hash of the model file that it was made of.
        model: What that file says of itself: recipe, label space, preprocessing, networks.
        precision: What convolutions compute in.
        statistics: What batch norm takes where that is not what the model file says.
        inputs: What each input takes.
        outputs: What each output gives.
        multiple: Height and width are multiples of this.
        smallest: The least of both.
        noise: What became of the noise of pix2pix; empty for other models.
        calibration: What int8 was calibrated on.
        weights_sha256: Of the .bin file beside an OpenVINO .xml; empty elsewhere.
        made_with: Versions of the programs that wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    graph_version: int = GRAPH_VERSION
    model_hash: str
    model: ModelInfo
    precision: Literal["float32", "int8"] = "float32"
    statistics: str | None = None
    inputs: dict[str, str]
    outputs: dict[str, str] = {"photograph": "(batch, height, width, 3) uint8"}
    multiple: int
    smallest: int
    noise: str = ""
    calibration: Calibration | None = None
    weights_sha256: str = ""
    made_with: dict[str, str] = Field(default_factory=lambda: made_with())


def describe(model: Model, statistics: str | None = None) -> ExportedInfo:
    """What a float32 export of a model says of itself."""
    generator = model.networks["generator"]
    return ExportedInfo(
        model_hash=model.hash,
        model=model.info,
        statistics=statistics,
        inputs=inputs_of(model.info),
        multiple=int(getattr(generator, "multiple", 1)),
        smallest=int(getattr(generator, "smallest", 1)),
        noise="off: the graph draws no dropout" if draws_dropout(model) else "",
    )


def inputs_of(info: ModelInfo) -> dict[str, str]:
    """The inputs of a graph, in their order, each with what it takes."""
    semantics, style = info.semantics, info.style
    if semantics.source_channels:
        found = {"source": f"(batch, {semantics.source_channels}, height, width) float32 in [-1, 1]"}
    else:
        ignored = f"{semantics.classes} where ignored"
        found = {"label": f"(batch, height, width) int32, class indices 0..{semantics.classes - 1}, {ignored}"}
    if semantics.boundary:
        found["instance"] = "(batch, height, width) int32, object ids; only where they change matters"
    if style and style.channels:
        size = "" if style.kind == "z" else ", height, width"
        found[STYLE_INPUTS[style.kind]] = f"(batch, {style.channels}{size}) float32"
    return found


def draws_dropout(model: Model) -> bool:
    """Whether a generator has dropout that stays on while it generates."""
    generator = model.networks["generator"]
    return isinstance(generator, UNetGenerator) and generator.dropout > 0 and len(generator.up) > LEVELS_WITHOUT_DROPOUT


def made_with() -> dict[str, str]:
    """Versions of gesso and of what writes and reads graphs, where they are installed."""
    found = {}
    for name in ("gesso", "torch", "onnx", "onnxruntime", "openvino", "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_description(text: str | None, path: Any) -> ExportedInfo:
    """The description that a file carries.

    Raises:
        ModelFileError: It carries none, or one of another version.
    """
    try:
        return ExportedInfo.model_validate_json(text or "")
    except ValidationError:
        what = "says nothing of gesso" if not text else "was exported by another version of gesso, or edited"
        raise ModelFileError(f"{path} {what}. {AGAIN}") from None
