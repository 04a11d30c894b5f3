"""The tensors of styles in a model file: whether they fit each other and the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gesso.model_info import ModelInfo

KINDS = {
    "centres": (torch.float32, 2),
    "sizes": (torch.int64, 1),
    "thumbnails": (torch.uint8, 4),
    "together": (torch.int64, 2),
}


def fault_of_styles(info: ModelInfo, styles: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the clusters of a file, as the end of a sentence; None where all is right.

    Args:
        info: What the file says of itself.
        styles: As `gesso.checkpoints.Model.styles` has them.
    """
    if not styles:
        return None
    if info.style is None or info.style.kind != "features":
        return "clusters, but no style of features"
    leading = _leading_modes(info, styles)
    if info.styles and info.styles.leader and not leading:
        return f"the leading class {info.styles.leader!r}, which has no clusters"
    # A class's centres come first.
    faults = (_fault(key, styles, info, info.style.channels, leading) for key in sorted(styles))
    return next((fault for fault in faults if fault), None)


def _leading_modes(info: ModelInfo, styles: Mapping[str, Tensor]) -> int:
    """How many modes the class has by which the others are drawn; 0 where there is none."""
    if info.styles is None or info.label_space is None or info.styles.leader not in info.label_space.names:
        return 0
    return len(styles.get(f"{info.label_space.index(info.styles.leader)}.centres", ()))


def _fault(key: str, styles: Mapping[str, Tensor], info: ModelInfo, channels: int, leading: int) -> str | None:
    index, _, what = key.partition(".")
    value, centres = styles[key], styles.get(f"{index}.centres")
    shape = tuple(value.shape)
    if centres is None or index not in {str(number) for number in range(info.semantics.classes)}:
        return f"tensor styles.{key}, which belongs to no class"
    if what not in KINDS or (value.dtype, value.dim()) != KINDS[what] or not value.numel():
        return f"tensor styles.{key} of shape {shape} and {value.dtype}"
    if len(value) != len(centres) or centres.shape[1] != channels:
        return f"tensor styles.{key} of shape {shape}, whose centres are {tuple(centres.shape)}"
    if what == "thumbnails" and (value.shape[1] != value.shape[2] or value.shape[3] != 3):
        return f"tensor styles.{key} of shape {shape}, which are no square pictures"
    if what == "together" and (value.shape[1] != leading or value.min() < 0):
        return f"tensor styles.{key} of shape {shape}, which are no counts beside {leading} leading modes"
    return None
