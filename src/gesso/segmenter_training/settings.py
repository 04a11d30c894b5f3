"""How long a segmenter is trained, and how."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gesso.networks.segmenter import Segmenter


class SegmenterSettings(BaseModel):
    """How a segmenter is trained. The defaults are for some hundred photographs of about 128x256 on one CPU core.

    Attributes:
        steps: Batches to learn from.
        batch: Photographs in each; batch norm needs two.
        lr: Highest learning rate of AdamW; it rises over the first `warmup` of the steps and falls to 0 as a cosine.
        warmup: 0..1, share of the steps.
        weight_decay: Of AdamW.
        width: Channels of the network's first level; cost grows with its square.
        crop: (height, width) in pixels of what is cut out for training; None for the size of the first photograph.
        scale: Least and greatest factor by which photographs are scaled at random.
        flip: Whether half of the photographs are mirrored.
        colour: 0..1, how far brightness, contrast and saturation are changed at random.
        balance: 0..1, exponent of the classes' weights in the loss: 0 counts every pixel alike, 1 every class.
        seed: Of weights, order and everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(3400, ge=1)
    batch: int = Field(8, ge=2)
    lr: float = Field(3e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    width: int = Field(16, ge=1)
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.7, 1.6)
    flip: bool = True
    colour: float = Field(0.3, ge=0, lt=1)
    balance: float = Field(0.4, ge=0, le=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> SegmenterSettings:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale {self.scale} must be a least and a greatest factor above 0")
        if self.crop and any(side < 1 or side % Segmenter.multiple for side in self.crop):
            raise ValueError(f"crop {self.crop} must be (height, width) in multiples of {Segmenter.multiple}")
        return self

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        done, warmup = (step + 1) / (self.steps + 1), self.warmup
        if done < warmup:
            return self.lr * done / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
