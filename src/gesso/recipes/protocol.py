"""What every recipe offers, and the settings that every paper uses identically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer

from gesso.labels import Semantics
from gesso.recipes.augment import policies

Batch = Mapping[str, Any]


class TrainingConfig(BaseModel):
    """Settings of a training run that mean the same for every paper; each recipe's `Config` adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = Field("", description="published or shipped configuration that the others start from")

    resize: Literal["none", "fixed", "scale_width", "scale_shortside", "nearest_multiple"] = Field(
        "none", description="how photographs and maps are resized"
    )
    height: int | None = Field(
        None, ge=1, description="pixels; target of --resize fixed; short side of scale_shortside"
    )
    width: int | None = Field(None, ge=1, description="pixels; target of --resize fixed and scale_width")
    crop: tuple[int, int] | None = Field(None, description="height and width in pixels of a random crop in training")
    flip: bool = Field(True, description="mirror half of the training samples")
    boundary: bool | None = Field(None, description="instance boundary channel; by default on where instances exist")
    dont_care: bool | None = Field(
        None, description="channel for ignored pixels; by default on where the space ignores any"
    )

    batch: int = Field(1, ge=1, description="photographs per step, over all processes and accumulated parts")
    accumulate: int = Field(1, ge=1, description="parts that a step's photographs are split into, to save memory")
    epochs: int = Field(100, ge=0, description="passes over the data at the full learning rate")
    epochs_decay: int = Field(100, ge=0, description="further passes, while the learning rate falls to zero")
    lr: float = Field(2e-4, gt=0, description="learning rate of Adam")
    beta1: float = Field(0.5, ge=0, lt=1, description="Adam's decay of the mean gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="Adam's decay of the mean squared gradient")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay per step of averaged generator weights for the model file; 0 is off"
    )
    diffaugment: str = Field(
        "",
        description="comma list of color, translation, cutout: how what the discriminators see is changed at random, for "
        "few photographs; empty is off",
    )
    warp: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength, 0 to 1, of random smooth bending of half of the training samples, layout and photograph alike, "
        "for few photographs; 0 is off",
    )
    warp_layout: float = Field(
        0.0,
        ge=0,
        le=1,
        description="strength, 0 to 1, of random smooth bending of the layout that the generator is given, and of nothing else, "
        "for half of the training samples: it learns to mend outlines; 0 is off",
    )
    precision: Literal["32", "32-true", "bf16-mixed"] = Field("32-true", description="number format of the arithmetic")
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward pass instead of keeping them, to save memory"
    )
    channels_last: bool = Field(False, description="keep the channels of a pixel together in memory; for GPUs")
    compile: bool = Field(
        False,
        description="compile the networks with torch.compile, which takes minutes and pays in long trainings, above all on GPUs; "
        "without a compiler training goes on without, and says so",
    )
    init_from: str | None = Field(
        None,
        description="run folder or model file whose networks the training takes over; it begins with the phase they fit",
    )
    transfer: Literal["none", "labels"] = Field(
        "none",
        description='what --init-from may change on the way: "labels" carries the weights that see the layout over to another '
        "label space, class by class",
    )
    class_map: dict[str, str] = Field(
        {},
        description='with --transfer labels, which old class a new one takes over from: "new=old,new2=old2", or a YAML or JSON '
        "file with a line new: old for each; other classes go by name",
    )
    best_by: Literal["val_l1", "val_pyramid", "none"] = Field(
        "val_l1",
        description="score of the held-out photographs by which the best model so far is kept as best.safetensors: val_l1, the "
        "mean absolute difference; val_pyramid, its mean over the picture and its halves, quarters and eighths, to which "
        "sharpness matters less; or none",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of initial weights, data order, augmentation and noise")

    workers: int = Field(1, ge=0, description="processes that load data")
    cache: float = Field(
        0.0,
        ge=0,
        description="GiB of decoded photographs and maps that the loading processes keep in memory, an equal part each, instead "
        "of decoding them in every pass; 0 is off",
    )
    log_every: int = Field(20, ge=1, description="steps between lines of the log")
    sample_every: int = Field(1000, ge=1, description="steps between pictures of fixed samples")
    save_every: int = Field(1000, ge=1, description="steps between saved states")
    keep: int = Field(2, ge=1, description="saved states kept")

    @field_validator("diffaugment")
    @classmethod
    def _check_policies(cls, text: str) -> str:
        return ",".join(policies(text))

    @model_validator(mode="after")
    def _check_transfer(self) -> TrainingConfig:
        if self.transfer != "none" and not self.init_from:
            raise ValueError(
                "--transfer needs --init-from: the run folder or model file whose weights are carried over"
            )
        if self.class_map and self.transfer == "none":
            raise ValueError(
                "--class-map says how --transfer labels goes from class to class; give that too, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.epochs + self.epochs_decay == 0:
            raise ValueError("--epochs and --epochs-decay are both 0: there is nothing to train")
        if self.batch % self.accumulate:
            raise ValueError(f"--batch {self.batch} cannot be split into --accumulate {self.accumulate} equal parts")
        if self.compile and self.checkpoint_activations:
            raise ValueError(
                "--compile and --checkpoint-activations exclude each other: compiling decides itself what is computed again"
            )
        if self.resize == "fixed" and not (self.height and self.width):
            raise ValueError("--resize fixed needs --height and --width")
        if self.resize == "scale_width" and not self.width:
            raise ValueError("--resize scale_width needs --width")
        if self.resize == "scale_shortside" and not self.height:
            raise ValueError("--resize scale_shortside needs --height, the length of the short side")
        return self


@dataclass
class Players:
    """The networks of a run: those that are trained, by name, and frozen helpers such as VGG."""

    trained: dict[str, nn.Module]
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)  # class and arguments, for the model file
    style: dict[str, Any] | None = None  # what the style is made of, for the model file


@dataclass(frozen=True)
class Phase:
    """One stretch of a training, at the end of which networks may grow.

    Attributes:
        name: For people and file names.
        config: The settings in this phase; its epochs are its own.
        shrink: How many times smaller photographs and maps are than at the end of the training.
        frozen: Prefixes of names (NETWORK.PARAMETER) of what is not trained.
        new: Prefixes of names of weights that this phase begins with fresh; all others come from the phase before.
        replaced: Those of `new` that the phase before has too, in another shape; its own are dropped.
    """

    name: str
    config: Any
    shrink: int = 1
    frozen: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


class Engine(Protocol):
    """What a training step needs of Lightning Fabric."""

    def backward(self, tensor: Tensor) -> None:
        """Accumulate gradients of a scalar."""

    def no_backward_sync(self, module: Any, enabled: bool = True) -> AbstractContextManager[Any]:
        """Keep gradients of all but the last part of a step from being averaged over processes."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The number format of the run, for networks that Fabric does not wrap."""


class Recipe(Protocol):
    """A module of `gesso.recipes`: how one paper trains."""

    NAME: str

    @property
    def Config(self) -> type[Any]:
        """Its settings: a frozen pydantic model."""

    @property
    def PRESETS(self) -> Mapping[str, Any]:
        """Published and shipped configurations by name."""

    def multiple(self, config: Any) -> int:
        """What height and width of a layout must be multiples of."""

    def phases(self, config: Any) -> Sequence[Phase]:
        """The stretches of a training in their order; at least one."""

    def build(self, config: Any, semantics: Semantics) -> Players:
        """Networks with their initial weights, drawn from the global random state."""

    def optimizers(self, config: Any, players: Players) -> dict[str, Optimizer]:
        """One optimizer per side of the game."""

    def learning_rates(self, config: Any, epoch: float) -> dict[str, float]:
        """Learning rate of each optimizer as a pure function of progress, in passes over the data within a phase."""

    def needs_instances(self, config: Any) -> bool:
        """Whether batches must hold instance maps, beyond those for the boundary channel."""

    def reads_codes(self, config: Any) -> bool:
        """Whether `generate` and `train_step` are faster with the batch's layouts as `codes` too; on CPUs."""

    def synthesise(self, config: Any, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        """Photographs of a batch, for samples and validation: always the same. There may be no `image` in the batch."""

    def generate(self, config: Any, players: Mapping[str, nn.Module], batch: Batch) -> Tensor:
        """Photographs of a batch in random styles, as the generator makes them while it is trained."""

    def train_step(
        self, config: Any, players: Players, optimizers: Mapping[str, Optimizer], parts: Sequence[Batch], engine: Engine
    ) -> dict[str, Tensor]:
        """One update of every network from the parts of one batch; returns detached losses and monitors by name."""
