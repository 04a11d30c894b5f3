"""A segmenter in the editor: layouts of photographs, and where a generated photograph does not show what its layout says."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, File, Form, UploadFile
from PIL import Image
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from gesso.editor.examples import trained_size
from gesso.editor.forms import Map, Scene, scenes
from gesso.editor.opening import Segment, document_of, photograph_of
from gesso.editor.rendering import Renderer
from gesso.editor.security import content_of
from gesso.editor.wire import DocumentWire
from gesso.errors import ConfigError, DataError
from gesso.labels import ByteArray, LabelSpace
from gesso.synthesis.segmenter import PhotoSegmenter

SPECK = 4000  # a region smaller than this part of the picture is the segmenter's noise
NONE = (
    "The editor was started without a segmenter: start gesso edit MODEL --segmenter FILE, with a file as "
    "gesso evaluate --save-segmenter writes it."
)


class Compared(Protocol):
    """How a photograph agrees with its layout, as `gesso.evaluate.faithfulness` has it."""

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """(H, W): where another class was found."""

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(4, C): pixels of each class of the layout, those found right, and both near boundaries."""


Faithful = Callable[[Map, npt.NDArray[np.int32], LabelSpace, Map], Compared]
"""(layout, what was found, classes, object ids) -> how they agree."""


class ClassAgreement(BaseModel):
    """One class of the layout: its pixels, and the share of them in which it was found."""

    model_config = ConfigDict(frozen=True)

    name: str
    agreement: float
    pixels: int


class Disagreement(BaseModel):
    """Where a photograph does not show what its layout says.

    Attributes:
        mask: Data URL of a PNG of 1 bit: white where another class was found.
        total: Share of the pixels that have a class in which it was found, 0..1.
        classes: Class by class, the worst first.
    """

    model_config = ConfigDict(frozen=True)

    mask: str
    total: float
    classes: tuple[ClassAgreement, ...]


def refuse_other_classes(segmenter: PhotoSegmenter, space: LabelSpace) -> None:
    """See that a segmenter finds the classes that a model knows.

    Raises:
        ConfigError: It finds others.
    """
    if segmenter.label_space.names != space.names:
        raise ConfigError(
            f"The segmenter finds the {len(segmenter.label_space)} classes of {segmenter.label_space.name}, the model knows the "
            f"{len(space)} of {space.name}. Give one that was trained on the model's data: gesso evaluate --segmenter train "
            "--save-segmenter FILE."
        )


def document_maker(renderer: Renderer, segmenter: PhotoSegmenter | None) -> Segment | None:
    """What makes a document of a photograph; None without a segmenter.

    Raises:
        ConfigError: The segmenter finds other classes than the model's.
    """
    if segmenter is None:
        return None
    refuse_other_classes(segmenter, renderer.space)
    reader, space = segmenter, renderer.space
    lock = threading.Lock()

    def segment(photograph: ByteArray) -> DocumentWire:
        with lock:
            found = reader(np.array(photograph))  # writable, as torch wants it
        return document_of(without_specks(found, len(space)), None, space, "photograph")

    return segment


def without_specks(label: npt.NDArray[np.int32], ignored: int) -> npt.NDArray[np.int32]:
    """A found label map in which small regions, and pixels without a class, are given to what is nearest.

    Args:
        label: (H, W) class indices.
        ignored: What stands for no class.
    """
    smallest = max(2, label.size // SPECK)
    small = label == ignored
    for index in np.unique(label).tolist():
        numbered, count = ndimage.label(label == index)
        if count:
            small |= (np.bincount(numbered.ravel()) < smallest)[numbered] & (numbered > 0)
    if small.all():
        return label
    nearest: Any = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
    return np.asarray(label[tuple(nearest)])


def router(renderer: Renderer, segmenter: PhotoSegmenter | None, faithfulness: Faithful | None = None) -> APIRouter:
    """The addresses /api/segment and /api/disagreement.

    Args:
        renderer: Makes the photographs that are read.
        segmenter: Reads them; without one both addresses say so.
        faithfulness: Compares layouts with what was found.

    Raises:
        ConfigError: The segmenter finds other classes than the model's.
    """
    api = APIRouter(prefix="/api")
    make = document_maker(renderer, segmenter)
    trained = trained_size(renderer.synthesizer)
    given: Any = Depends(scenes(renderer))  # as a default: annotations do not see what is local

    @api.post("/segment")
    def segment(
        photograph: Annotated[UploadFile, File(description="PNG or JPEG.")],
        keep: Annotated[bool, Form(description="Keep its own size, however large.")] = False,
    ) -> DocumentWire:
        """The layout of a photograph."""
        if make is None:
            raise DataError(NONE)
        return make(photograph_of(content_of(photograph), renderer.limits, None if keep else trained))

    @api.post("/disagreement")
    def disagreement(scene: Scene = given) -> Disagreement:
        """Render a layout, read the photograph, and compare."""
        if segmenter is None or faithfulness is None:
            raise DataError(NONE)
        picture = renderer.render(scene.label, scene.instance, scene.style, scene.seed).picture
        compared = faithfulness(scene.label, segmenter(np.array(picture)), renderer.space, scene.instance)
        return described(compared, renderer.space)

    return api


def described(compared: Compared, space: LabelSpace) -> Disagreement:
    """What is told of a comparison."""
    pixels, right = compared.counts[0].tolist(), compared.counts[1].tolist()
    classes = [
        ClassAgreement(name=name, agreement=found / count, pixels=count)
        for name, count, found in zip(space.names, pixels, right, strict=True)
        if count
    ]
    total = sum(right) / max(1, sum(pixels))
    return Disagreement(
        mask=_bits(compared.wrong), total=total, classes=tuple(sorted(classes, key=lambda c: c.agreement))
    )


def _bits(mask: npt.NDArray[np.bool_]) -> str:
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).convert("1").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
