"""What the endpoints around the renderer share: the fields of a scene, and pictures as text."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import File, Form, UploadFile
from PIL import Image

from gesso.editor.rendering import Renderer
from gesso.editor.security import read_instances, read_label
from gesso.editor.wire import png_bytes, refuse_unknown_indices
from gesso.errors import LabelError, StyleError
from gesso.labels import ByteArray, components
from gesso.synthesis.inputs import refuse_seed
from gesso.synthesis.style import Style

Map = npt.NDArray[np.int32]
Seed = Annotated[int, Form(ge=0, lt=2**63, description="Of what the style leaves open.")]
LabelFile = Annotated[UploadFile, File(description="Class indices: a gray PNG of 8 or 16 bits.")]
InstanceFile = Annotated[
    UploadFile | None,
    File(description="Object ids: an RGBA PNG of int32, little-endian, or a gray one of 8 or 16 bits."),
]
StyleText = Annotated[str, Form(description="A style as JSON.")]


@dataclass(frozen=True)
class Scene:
    """A layout and how it is dressed.

    Attributes:
        label: (H, W) int32 class indices.
        instance: (H, W) int32 object ids.
        style: What was chosen; None where nothing was.
        seed: Of the rest.
    """

    label: Map
    instance: Map
    style: Style | None = None
    seed: int = 0


def read_layout(renderer: Renderer, label: UploadFile | bytes, instance: UploadFile | bytes | None) -> Scene:
    """A layout as clients send it; connected components stand in for missing ids.

    Raises:
        DataError: A file is no PNG, too large, or damaged.
        LabelError: A class is not the model's, or the two maps differ in size.
    """
    indices = read_label(label, renderer.limits).astype(np.int32)
    refuse_unknown_indices(indices, renderer.space, "the layout")
    if instance is None:
        return Scene(indices, components(indices, renderer.space))
    ids = read_instances(instance, renderer.limits)
    refuse_other_size(ids.shape, indices.shape)
    return Scene(indices, ids)


def refuse_other_size(instance: tuple[int, ...], label: tuple[int, ...]) -> None:
    """See that an instance map has the size of its label map.

    Raises:
        LabelError: It has not.
    """
    if instance != label:
        raise LabelError(
            f"The instance map is {instance[1]} x {instance[0]} pixels, the label map {label[1]} x {label[0]}: they must be "
            "of one size. Resize it with nearest neighbour, or give the one that belongs to it."
        )


def read_style(text: str, origin: str = "style") -> Style | None:
    """A style from JSON; None where nothing but a seed may be in it.

    Raises:
        StyleError: The text is no style.
    """
    if not text.strip():
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise StyleError(f"The {origin} is not JSON; send an object such as {{}} or leave it out.") from None
    style = Style.parse({} if document is None else document, origin)
    refuse_seed(style.seed or 0)
    return style


def scenes(renderer: Renderer) -> Callable[..., Scene]:
    """A dependency that reads the fields label, instance, style and seed."""

    def scene(label: LabelFile, instance: InstanceFile = None, style: StyleText = "", seed: Seed = 0) -> Scene:
        layout = read_layout(renderer, label, instance)
        return Scene(layout.label, layout.instance, read_style(style), seed)

    return scene


def png_url(picture: npt.NDArray[np.generic]) -> str:
    """A picture as a data URL of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def resized(photograph: ByteArray, size: tuple[int, int]) -> ByteArray:
    """A photograph (H, W, 3) at another (height, width), by the bicubic filter."""
    if photograph.shape[:2] == size:
        return photograph
    return np.asarray(Image.fromarray(photograph).resize(size[::-1], Image.Resampling.BICUBIC))


def shrunk(picture: ByteArray, most: int) -> ByteArray:
    """A picture whose longer side has at most so many pixels."""
    height, width = picture.shape[:2]
    scale = min(1.0, most / max(height, width))
    return resized(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
