"""Opening what people have: examples, label maps, instance maps, photographs.

Each becomes a document, or a sentence that says why not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, File, Form, Response, UploadFile
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict

from gesso.editor.examples import Example, Loaded, comfortable_size, trained_size
from gesso.editor.forms import LabelFile, png_url, read_layout, refuse_other_size, resized, shrunk
from gesso.editor.label_files import Report, read_instance_file, read_label_file, refuse_animated
from gesso.editor.originals import own_fault
from gesso.editor.rendering import Closing, Renderer
from gesso.editor.security import Limits, content_of, read_photograph
from gesso.editor.wire import DocumentWire, png_bytes
from gesso.errors import DataError, GessoError, LabelError
from gesso.labels import ByteArray, LabelSpace, colourise, components
from gesso.synthesis.editing import Layout

LISTED = 12  # examples that the page shows
THUMBNAIL = 160  # pixels of the longer side
MOST_OBJECTS = 2000  # that are taken apart: each costs a search of its surroundings,
MOST_SEARCHED = 2**30  # which may be the whole picture; objects times pixels
SAME = 12.0  # mean difference of 255, up to which a photograph is one of the dataset's, resized by another filter

Segment = Callable[[ByteArray], DocumentWire]
Number = Annotated[int, InPath(ge=0, le=10**6)]
Upload = Annotated[UploadFile, File()]


class ExampleWire(DocumentWire):
    """A document to start from.

    Attributes:
        photograph: Whether it comes with one.
    """

    photograph: bool = False


class OpenedWire(DocumentWire):
    """A document from a label map.

    Attributes:
        report: How it was read.
    """

    report: Report


class Thumbnail(BaseModel):
    """One of the examples.

    Attributes:
        number: What /api/examples/{number} calls it.
        name: What it is called.
        thumbnail: Data URL: its photograph, or its layout in colours; empty where it cannot be read.
        width: Pixels of the layout.
        height: Pixels of it.
        fault: Why it cannot be read, with the name of the file; None where it can.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    name: str
    thumbnail: str = ""
    width: int = 0
    height: int = 0
    fault: str | None = None


class OpenedPhotograph(BaseModel):
    """A photograph.

    Attributes:
        width: Pixels.
        height: Pixels.
        photograph: Data URL of a PNG of that size.
        document: Its layout, where the dataset holds it or a segmenter found it; else None.
        fault: Why edits cannot be put into it, so that the whole picture is rendered; None where they can.
    """

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    photograph: str
    document: DocumentWire | None
    fault: str | None = None


class Examples:
    """Examples that are read once, when they are asked for, and the thumbnails of the first of them."""

    def __init__(self, examples: Sequence[Example], space: LabelSpace) -> None:
        self._examples, self._space = examples, space
        self._by_name = {example.name.rsplit("/", 1)[-1]: n for n, example in reversed(list(enumerate(examples)))}
        self._lock = threading.Lock()
        self._loaded: dict[int, Loaded] = {}
        self._thumbnails: list[Thumbnail] | None = None

    def __len__(self) -> int:
        return min(LISTED, len(self._examples))

    def name(self, number: int) -> str:
        """What an example is called."""
        return self._examples[number].name

    def load(self, number: int) -> Loaded:
        """One example; those that the page lists are kept.

        Raises:
            DataError: There is none of that number.
            GessoError: Its files cannot be read.
        """
        if not 0 <= number < len(self._examples):
            raise DataError(f"There is no example {number}; the {len(self._examples)} examples are numbered from 0.")
        with self._lock:
            if number in self._loaded:
                return self._loaded[number]
            loaded = self._examples[number].load()
            if number < LISTED:
                self._loaded[number] = loaded
            return loaded

    def thumbnails(self) -> list[Thumbnail]:
        """What the page lists; those that cannot be read say why, and are tried again next time."""
        if self._thumbnails is not None:
            return self._thumbnails
        found = [self._thumbnail(number) for number in range(len(self))]
        if not any(one.fault for one in found):
            self._thumbnails = found
        return found

    def _thumbnail(self, number: int) -> Thumbnail:
        try:
            loaded = self.load(number)
        except Closing:
            raise
        except GessoError as error:
            return Thumbnail(number=number, name=self.name(number), fault=str(error))
        shown = colourise(loaded.label, self._space) if loaded.photograph is None else loaded.photograph
        height, width = loaded.label.shape
        url = png_url(shrunk(shown, THUMBNAIL))
        return Thumbnail(number=number, name=self.name(number), thumbnail=url, width=width, height=height)

    def showing(self, photograph: ByteArray, filename: str) -> tuple[int, Loaded] | None:
        """The example of a photograph, known by the file's name and by its looks; None where there is none."""
        number = self._by_name.get(PurePath(filename).stem)
        if number is None:
            return None
        try:
            loaded = self.load(number)
        except GessoError:
            return None
        if loaded.photograph is None:
            return None
        given = resized(photograph, loaded.label.shape).astype(np.int16)
        close = np.abs(given - loaded.photograph).mean() <= SAME
        return (number, loaded) if close else None


def router(
    renderer: Renderer, examples: Sequence[Example], limits: Limits | None = None, segment: Segment | None = None
) -> APIRouter:
    """Addresses below /api/examples and /api/open.

    Args:
        renderer: Its classes are those of the documents.
        examples: Layouts to start from.
        limits: Of uploads; the renderer's where None.
        segment: Makes a document of a photograph, where there is a segmenter.
    """
    limits = limits or renderer.limits
    shown = Examples(examples, renderer.space)
    api = APIRouter(prefix="/api")
    _add_examples(api, shown, renderer.space)
    _add_maps(api, renderer, limits)
    trained = trained_size(renderer.synthesizer)

    @api.post("/open/photograph")
    def open_photograph(
        file: Upload, keep: Annotated[bool, Form(description="Keep its own size, however large.")] = False
    ) -> OpenedPhotograph:
        """Open a photograph; with its layout where the dataset has it, or a segmenter is there."""
        content = content_of(file)
        photograph, fault = photograph_of(content, limits, None if keep else trained), own_fault(content, limits)
        if found := shown.showing(photograph, file.filename or ""):
            number, loaded = found
            assert loaded.photograph is not None
            photograph = loaded.photograph
            document: DocumentWire | None = document_of(
                loaded.label, loaded.instance, renderer.space, shown.name(number)
            )
        else:
            document = segment(photograph) if segment else None
        height, width, _ = photograph.shape
        return OpenedPhotograph(
            width=width, height=height, photograph=png_url(photograph), document=document, fault=fault
        )

    return api


def _add_examples(api: APIRouter, examples: Examples, space: LabelSpace) -> None:
    @api.get("/examples")
    def list_examples() -> list[Thumbnail]:
        """The first examples, also those whose files are bad."""
        return examples.thumbnails()

    @api.get("/examples/{number}")
    def example(number: Number) -> ExampleWire:
        """The document of one."""
        loaded = examples.load(number)
        document = document_of(loaded.label, loaded.instance, space, examples.name(number))
        return ExampleWire(**dict(document), photograph=loaded.photograph is not None)

    @api.get("/examples/{number}/photograph", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def example_photograph(number: Number) -> Response:
        """The photograph of one."""
        loaded = examples.load(number)
        if loaded.photograph is None:
            raise DataError(f"Example {number} has no photograph; its layout is at /api/examples/{number}.")
        return Response(png_bytes(loaded.photograph), media_type="image/png")


def _add_maps(api: APIRouter, renderer: Renderer, limits: Limits) -> None:
    space = renderer.space

    @api.post("/open/labels")
    def open_labels(
        file: Upload,
        instances: Annotated[UploadFile | None, File()] = None,
        nearest: Annotated[
            bool, Form(description="Take the nearest class even where most colours are unknown.")
        ] = False,
    ) -> OpenedWire:
        """Open a label map: values, a palette or colours; with an instance map of the same size, or connected components."""
        name = called(file, "label map")
        label, report = read_label_file(content_of(file), space, limits, name, nearest)
        ids = None if instances is None else _ids(instances, label, limits)
        renderer.refuse_unwanted()
        document = document_of(label, ids, space, title(file))
        return OpenedWire(**dict(document), report=report)

    @api.post("/open/instances")
    def open_instances(file: Upload, label: LabelFile) -> DocumentWire:
        """Open an instance map for the layout that is shown."""
        indices = read_layout(renderer, label, None).label
        ids = _ids(file, indices, limits)
        renderer.refuse_unwanted()
        return document_of(indices, ids, space, title(file))


def title(file: UploadFile) -> str:
    """What a document is called that was an upload: the file's name without folders and ending, as far as it can be printed."""
    return "".join(letter for letter in PurePath(file.filename or "").stem if letter.isprintable())


def called(file: UploadFile, kind: str) -> str:
    """What errors call an upload: its kind, and the name that it came with."""
    name = PurePath(file.filename or "").name[:60]
    return f"{kind} {name!r}" if name and name.isprintable() else kind


def _ids(file: UploadFile, label: npt.NDArray[np.int32], limits: Limits) -> npt.NDArray[np.int32]:
    ids = read_instance_file(content_of(file), limits, called(file, "instance map"))
    refuse_other_size(ids.shape, label.shape)
    return ids


def photograph_of(content: bytes, limits: Limits, trained: tuple[int, int] | None) -> ByteArray:
    """An uploaded photograph (H, W, 3), upright; brought to a comfortable size where that of training is given.

    Raises:
        DataError: It is no photograph, an animation, too large, or damaged.
    """
    refuse_animated(content, "photograph")
    photograph = read_photograph(content, limits)
    size = photograph.shape[:2]
    return resized(photograph, size if trained is None else comfortable_size((size[0], size[1]), trained))


def document_of(
    label: npt.NDArray[np.int32], instance: npt.NDArray[np.int32] | None, space: LabelSpace, name: str = "", **more: Any
) -> DocumentWire:
    """A flat layout taken apart.

    Args:
        label: (H, W) class indices.
        instance: (H, W) object ids; None for connected components.
        space: The classes.
        name: Of the document.
        more: Further fields.

    Raises:
        LabelError: It has very many objects, or is no layout of the space.
    """
    ids = components(label, space) if instance is None else instance
    countable = np.isin(label, space.things)
    objects = len(np.unique((label[countable].astype(np.int64) << 32) + ids[countable]))
    most = min(MOST_OBJECTS, max(1, MOST_SEARCHED // label.size))
    if objects > most:
        raise LabelError(
            f"The layout has {objects} objects of countable classes; the editor takes up to {most} in a picture of this size. "
            + (
                "They are connected components: open it with its instance map, or remove the specks."
                if instance is None
                else "Is it the instance map of this layout?"
            )
        )
    return DocumentWire.of(Layout.of(label, ids, space), name).model_copy(update=more)
