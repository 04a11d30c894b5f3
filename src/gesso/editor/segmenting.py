"""A segmenter in the editor: layouts of photographs, and where a generated photograph does not show what its layout says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, File, Form, UploadFile
from pydantic import BaseModel, ConfigDict

from gesso.editor.examples import trained_size
from gesso.editor.forms import Map, Scene, png_url, scenes
from gesso.editor.opening import document_of, photograph_of
from gesso.editor.rendering import Priority, Renderer, Turns
from gesso.editor.security import content_of
from gesso.editor.wire import DocumentWire
from gesso.errors import DataError
from gesso.labels import ByteArray, LabelSpace
from gesso.synthesis.reading import refuse_other_classes, without_specks
from gesso.synthesis.segmenter import PhotoSegmenter

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


class Reader:
    """The one way to a segmenter: one photograph at a time, while the model goes on; who paints does not wait for it.

    Args:
        renderer: The model's.
        segmenter: Finds the model's classes.

    Raises:
        ConfigError: It finds others.
    """

    def __init__(self, renderer: Renderer, segmenter: PhotoSegmenter) -> None:
        refuse_other_classes(segmenter, renderer.space)
        self._renderer, self._segmenter = renderer, segmenter
        self._readings = Turns()
        self._documents = Turns()  # of whole documents: a layout is large, and taking it apart takes long

    def read(self, photograph: ByteArray) -> Map:
        """(H, W) class indices of a photograph (H, W, 3).

        Raises:
            Abandoned: Who asked no longer waits.
            Closing: The editor ends.
        """
        wanted = self._renderer.refuse_unwanted
        with self._readings.taken(Priority.RENDER, wanted), self._renderer.interruptible():
            wanted()
            return self._segmenter(np.array(photograph))  # writable, as torch wants it

    def document(self, photograph: ByteArray) -> DocumentWire:
        """The document of a photograph (H, W, 3), one at a time.

        Raises:
            Abandoned: Who asked no longer waits.
            Closing: The editor ends.
            LabelError: Very many objects were found.
        """
        space, wanted = self._renderer.space, self._renderer.refuse_unwanted
        with self._documents.taken(Priority.RENDER, wanted):
            label = self.read(photograph)
            wanted()
            label = without_specks(label, len(space))
            wanted()
            return document_of(label, None, space, "photograph")

    def refuse_all(self) -> None:
        """Let those who wait notice that the renderer is closed."""
        for turns in (self._documents, self._readings):
            turns.stir()

    def close(self) -> None:
        """Wait until nothing is read, and no document made, any more; after the renderer was closed."""
        self.refuse_all()
        for turns in (self._documents, self._readings):
            turns.rest()


def router(renderer: Renderer, reader: Reader | None, faithfulness: Faithful | None = None) -> APIRouter:
    """The addresses /api/segment and /api/disagreement.

    Args:
        renderer: Makes the photographs that are read.
        reader: Reads them; without one both addresses say so.
        faithfulness: Compares layouts with what was found.
    """
    api = APIRouter(prefix="/api")
    trained = trained_size(renderer.synthesizer)
    given: Any = Depends(scenes(renderer))  # as a default: annotations do not see what is local

    @api.post("/segment")
    def segment(
        photograph: Annotated[UploadFile, File(description="PNG or JPEG.")],
        keep: Annotated[bool, Form(description="Keep its own size, however large.")] = False,
    ) -> DocumentWire:
        """The layout of a photograph."""
        if reader is None:
            raise DataError(NONE)
        return reader.document(photograph_of(content_of(photograph), renderer.limits, None if keep else trained))

    @api.post("/disagreement")
    def disagreement(scene: Scene = given) -> Disagreement:
        """Render a layout, read the photograph, and compare."""
        if reader is None or faithfulness is None:
            raise DataError(NONE)
        picture = renderer.render(scene.label, scene.instance, scene.style, scene.seed).picture
        compared = faithfulness(scene.label, reader.read(picture), renderer.space, scene.instance)
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
        mask=png_url(compared.wrong), total=total, classes=tuple(sorted(classes, key=lambda c: c.agreement))
    )
