"""What a model file says of itself: how to build its networks, what they read and write, how its styles were found."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gesso.labels import LabelSpace, Semantics

FORMAT_VERSION = 1


class NetworkDescription(BaseModel):
    """How to build a network: its name in `NETWORKS` and its keyword arguments."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    name: str = Field(alias="class")
    arguments: dict[str, Any]


class StyleDescription(BaseModel):
    """What a model's style is made of.

    Attributes:
        kind: "features": a vector per object, from an encoder (pix2pixHD, section 3.4); "z": one latent vector
            per picture (SPADE); "noise": dropout and, where there are channels, a Gaussian map (pix2pix, section 3.2.1).
        channels: Numbers in the vector, or of the map at each pixel.
        regions: For features, what shares one vector: an "instance", or everything of a "label".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["features", "z", "noise"] = "features"
    channels: int = Field(ge=0)
    regions: Literal["instance", "label"] = "instance"

    @model_validator(mode="after")
    def _check(self) -> StyleDescription:
        if self.kind != "noise" and not self.channels:
            raise ValueError(f"a style of {self.kind} has at least one channel")
        return self


class StyleTable(BaseModel):
    """How the clusters in a model file were found; their tensors are `Model.styles`.

    Attributes:
        origin: The folder and split whose photographs were encoded.
        modes: Clusters per class that were asked for.
        minimum_area: Pixels that an object had to have; None for the published rule, more than 1/64 of the picture.
        seed: Of K-means.
        objects: Objects that were large enough, by class name.
        leader: The class whose mode decides which modes others get by chance; "" where each is drawn by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str = ""
    modes: int = Field(ge=1)
    minimum_area: int | None = None
    seed: int = 0
    objects: dict[str, int] = Field(default_factory=dict)
    leader: str = ""


class Score(BaseModel):
    """What a model was chosen by, of all that one training saw.

    Attributes:
        by: The score: "val_l1" or "val_pyramid"; less is better.
        value: Of held-out photographs.
        step: Training steps behind the model.
        phase: Number of the phase of the training; of different phases only scores of pictures at one size compare, and a saved
            state then has the number of its own phase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: str
    value: float
    step: int
    phase: int = 0


class ModelInfo(BaseModel):
    """What a model file says of itself.

    Attributes:
        recipe: The paper's recipe, such as "pix2pixhd".
        preset: The preset that training started from; empty if none.
        networks: Descriptions of "generator" and, if there is one, "encoder".
        label_space: The classes of its input; None for photo-to-photo models.
        semantics: What the generator's input is made of.
        preprocessing: How training resized and cropped, as `gesso.data.preprocessing.Preprocessing` keeps it.
        style: What the style is made of; None for models without one.
        styles: How the clusters were found; None where there are none.
        step: Training steps behind the weights.
        created: When the file was written, ISO 8601 in UTC.
        target_space: The classes whose colours its pictures show; None for models that make photographs.
        direction: "BtoA" where training exchanged input and target, else "AtoB"; None where the file does not say.
        input: What of the data training took as `--input` names it; None where the file does not say.
        side_by_side: Whether training took halves of side-by-side files A|B; None where the file does not say.
        best: The score by which this model is the best of its training so far; None for one that is merely the latest.
        stored_as: How the file holds all floating tensors; networks compute in float32 either way.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: int = FORMAT_VERSION
    gesso_version: str = Field(default_factory=lambda: version("gesso"))
    recipe: str
    preset: str = ""
    networks: dict[str, NetworkDescription]
    label_space: LabelSpace | None
    semantics: Semantics
    preprocessing: dict[str, Any]
    style: StyleDescription | None = None
    styles: StyleTable | None = None
    step: int = 0
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    target_space: LabelSpace | None = None
    direction: Literal["AtoB", "BtoA"] | None = None
    input: Literal["auto", "image", "colours", "gray"] | None = None
    side_by_side: bool | None = None
    best: Score | None = None
    stored_as: Literal["float32", "float16"] = "float32"
