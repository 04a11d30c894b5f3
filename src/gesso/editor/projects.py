"""Projects: everything of an edited picture in one .zip, which opens again exactly.

The document is what counts; the maps beside it are for people and other programs: the label map in file values, the instance map,
the layout in colours.
"""

from __future__ import annotations

import base64
import json
from importlib.metadata import version
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile as Part

from gesso.editor import archive
from gesso.editor.forms import png_url
from gesso.editor.label_files import refuse_animated
from gesso.editor.project_fit import fit_classes, fit_styles
from gesso.editor.rendering import Renderer
from gesso.editor.security import PNG_MAGIC, Limits, content_of, read_photograph, read_png
from gesso.editor.wire import DocumentWire, as_rgba, png_bytes
from gesso.errors import DataError, LabelError
from gesso.labels import LabelSpace, colourise
from gesso.synthesis.editing import Layout

FORMAT: Final = 1
DOCUMENT, OPENED, ABOUT, PHOTOGRAPH, LABEL, INSTANCE, COLOURS, README = (
    "document.json",
    "opened.json",
    "project.json",
    "photograph.png",
    "label.png",
    "instance.png",
    "colours.png",
    "README.txt",
)
README_TEXT = """A project of gesso's editor: gesso edit MODEL --project FILE opens it again.

document.json   the layout with all its layers, and its styles; the editor reads this
project.json    the model that it was made with
photograph.png  the photograph as it was when the project was saved
source.png      or source.jpg: the photograph that the layout came with, as it came; none where it came with none
opened.json     the layout that was found in it, before any edit; the editor puts into the photograph what differs
label.png       the layout in the values of the dataset's label files
instance.png    the ids of its objects: 16 bits of gray, or where they do not fit the 4 bytes of an int32 as RGBA
colours.png     the layout in the colours of its classes
"""
ABOUT_BYTES = 2**20
ENVELOPE = 2**14  # bytes around a file in a request: boundaries, and its name
FOR_PEOPLE = (LABEL, INSTANCE, COLOURS)
SOURCES = {"source.png": "image/png", "source.jpg": "image/jpeg"}  # what a layout came with keeps its own bytes
SOURCE_CALLED = "photograph that the layout came with"
LEFT_OUT = "X-Gesso-Left-Out"
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["document"],
                    "properties": {
                        "document": {"type": "string", "description": "The document as JSON, as text or as a file."},
                        "photograph": {"type": "string", "format": "binary", "description": "A PNG, or none."},
                        "source": {
                            "type": "string",
                            "format": "binary",
                            "description": "The photograph that the layout came with, PNG or JPEG, or none.",
                        },
                        "opened": {
                            "type": "string",
                            "description": "The document that was found in it, before any edit, as JSON; or none.",
                        },
                    },
                }
            }
        },
    }
}


class About(BaseModel):
    """What a project says of itself.

    Attributes:
        format_version: Of the project file.
        gesso_version: What wrote it.
        model: Hash of the model.
        recipe: Of the model.
        label_space: What the document's class indices mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT
    gesso_version: str = Field(default_factory=lambda: version("gesso"), max_length=100)
    model: str = Field(max_length=200)
    recipe: str = Field(max_length=100)
    label_space: LabelSpace


class OpenedProject(BaseModel):
    """A project that was opened.

    Attributes:
        document: Exactly as it was saved, where the model is the same.
        photograph: Data URL of the photograph that was saved with it; None without.
        source: Data URL of the photograph that the layout came with, in the bytes that were saved; None without.
        opened: The document that was found in it, before any edit; None where edits are not put into it.
        sameModel: Whether it was made with the model that is open.
        sentence: What to tell people.
    """

    model_config = ConfigDict(frozen=True)

    document: DocumentWire
    photograph: str | None
    source: str | None
    opened: DocumentWire | None = None
    sameModel: bool
    sentence: str


def save(
    renderer: Renderer,
    document: DocumentWire,
    photograph: bytes | None = None,
    limits: Limits | None = None,
    source: bytes | None = None,
    opened: DocumentWire | None = None,
) -> bytes:
    """A project file.

    Args:
        renderer: Whose model it was made with.
        document: Everything that is kept.
        photograph: A PNG.
        limits: Within which it must open again; the renderer's where None. Where it would be too large, the maps for people are
            left out, then the photograph, then the source.
        source: The photograph that the layout came with, a PNG or JPEG; kept as it is.
        opened: The document that was found in it, before any edit.

    Raises:
        DataError: The document or a photograph is too large or damaged.
        LabelError: A class is not the model's.
    """
    return _packed(renderer, document, photograph, (source, opened), limits or renderer.limits)[0]


def _packed(
    renderer: Renderer,
    document: DocumentWire,
    photograph: bytes | None,
    origin: tuple[bytes | None, DocumentWire | None],
    limits: Limits,
) -> tuple[bytes, tuple[str, ...]]:
    """A project file, and what was left out of it."""
    space, synthesizer = renderer.space, renderer.synthesizer
    layout = document.layout(space, renderer.limits.pixels)
    about = About(model=synthesizer.hash, recipe=synthesizer.info.recipe, label_space=space)
    entries = {
        README: README_TEXT.encode(),
        ABOUT: about.model_dump_json(indent=1).encode(),
        DOCUMENT: document.json_bytes(),
        **_maps(layout, space),
    }
    if photograph:
        read_png(photograph, renderer.limits, "photograph")
        entries[PHOTOGRAPH] = photograph
    source, opened = origin
    if source:
        _refuse_no_photograph(source, renderer.limits, SOURCE_CALLED)
        entries["source.png" if source.startswith(PNG_MAGIC) else "source.jpg"] = source
    if source and opened is not None:
        opened.layout(space, renderer.limits.pixels)
        entries[OPENED] = opened.json_bytes()
    return _small_enough(entries, limits)


def _small_enough(entries: dict[str, bytes], limits: Limits) -> tuple[bytes, tuple[str, ...]]:
    """An archive that can be sent back and opened, and what was left out for it.

    Raises:
        DataError: The document alone is too large.
    """
    most, out = limits.bytes - ENVELOPE, tuple[str, ...]()
    for names in ((), FOR_PEOPLE, (PHOTOGRAPH,), (*SOURCES, OPENED)):
        out += tuple(name for name in names if name in entries)
        kept = {name: content for name, content in entries.items() if name not in out}
        if out:
            kept[README] += f"\nLeft out, as the project would be too large to open again: {', '.join(out)}.\n".encode()
        content = archive.pack(kept)
        if len(content) <= most and len(entries[DOCUMENT]) <= limits.bytes:
            return content, out
    raise DataError(
        f"The project would have {len(content) / 2**20:.4g} MiB, its document {len(entries[DOCUMENT]) / 2**20:.4g}, even without "
        f"maps and photographs; it opens again with up to {most / 2**20:.4g}. Leave out objects, or scale it down."
    )


def _refuse_no_photograph(content: bytes, limits: Limits, what: str) -> None:
    """See that a file is a photograph that uploads may be; it is decoded for it.

    Raises:
        DataError: It is of another type, an animation, too large, or damaged.
    """
    refuse_animated(content, what)
    read_photograph(content, limits, what)


def _maps(layout: Layout, space: LabelSpace) -> dict[str, bytes]:
    """The maps for people."""
    maps = {INSTANCE: png_bytes(_ids(layout.instance)), COLOURS: png_bytes(colourise(layout.label, space))}
    try:
        values = space.to_values(layout.label)
    except LabelError:  # no value stands for ignored pixels
        return maps
    if values.min() < 0:  # as Cityscapes' licence plate, which no file can hold
        return maps
    return {**maps, LABEL: png_bytes(values.astype(np.uint8 if values.max() < 256 else np.uint16))}


def _ids(instance: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    return instance.astype(np.uint16) if 0 <= instance.min() and instance.max() < 2**16 else as_rgba(instance)


def open_project(renderer: Renderer, content: bytes, limits: Limits | None = None) -> OpenedProject:
    """A project from its file.

    Raises:
        DataError: It is no project, damaged, too large, or of another version.
        LabelError: It was made with another model, which has classes that this one does not have.
    """
    limits = limits or renderer.limits
    room = {DOCUMENT: limits.bytes, ABOUT: ABOUT_BYTES, PHOTOGRAPH: limits.bytes, README: ABOUT_BYTES}
    allowed = {**room, **dict.fromkeys((*FOR_PEOPLE, *SOURCES, OPENED), limits.bytes)}
    found = archive.unpack(content, allowed, (DOCUMENT, OPENED, ABOUT, PHOTOGRAPH, *SOURCES))
    if missing := [name for name in (ABOUT, DOCUMENT) if name not in found]:
        raise DataError(f"The project lacks {missing[0]}, so it is none of gesso's editor. {archive.WRITTEN_WITH}")
    about = _about(found[ABOUT])
    document = DocumentWire.parse(found[DOCUMENT], "project's document")
    photograph = found.get(PHOTOGRAPH)
    url = None if photograph is None else png_url(read_png(photograph, limits, "photograph in the project"))
    source = _source_url(found, limits)
    same = about.model == renderer.synthesizer.hash
    document, sentence = _adapted(document, about, renderer, same)
    document.layout(renderer.space, limits.pixels)  # damaged maps are said now, not when they are drawn
    opened = _opened(found, about, renderer, document) if source else None
    return OpenedProject(
        document=document, photograph=url, source=source, opened=opened, sameModel=same, sentence=sentence
    )


def _opened(found: dict[str, bytes], about: About, renderer: Renderer, document: DocumentWire) -> DocumentWire | None:
    """The document that was found in the photograph; None where the project has none.

    Raises:
        DataError: It is damaged, or of another size than the project's document.
        LabelError: It shows a class that this model does not have.
    """
    if OPENED not in found:
        return None
    opened = DocumentWire.parse(found[OPENED], f"project's {OPENED}")
    if (opened.width, opened.height) != (document.width, document.height):
        raise DataError(
            f"{OPENED} in the project is {opened.width} x {opened.height} pixels, its document {document.width} x "
            f"{document.height}. {archive.WRITTEN_WITH}"
        )
    opened, _ = _adapted(opened, about, renderer, about.model == renderer.synthesizer.hash)
    opened.layout(renderer.space, renderer.limits.pixels)
    return opened


def _source_url(found: dict[str, bytes], limits: Limits) -> str | None:
    """Data URL of the photograph that the layout came with, in its own bytes; None where the project has none.

    Raises:
        DataError: There are two, or it is not what its name says, an animation, too large, or damaged.
    """
    names = [name for name in SOURCES if name in found]
    if not names:
        return None
    if len(names) > 1:
        raise DataError(f"The project holds {' and '.join(names)}; a layout came with one. {archive.WRITTEN_WITH}")
    (name,) = names
    content = found[name]
    if content.startswith(PNG_MAGIC) is not name.endswith(".png"):
        raise DataError(f"The {name} in the project is no {name[-3:].upper()}. {archive.WRITTEN_WITH}")
    _refuse_no_photograph(content, limits, f"{name} in the project")
    return f"data:{SOURCES[name]};base64,{base64.b64encode(content).decode()}"


def _adapted(document: DocumentWire, about: About, renderer: Renderer, same: bool) -> tuple[DocumentWire, str]:
    """A document as far as this model can show it, whatever wrote it; and what to tell people."""
    if same:
        document, dropped = fit_styles(document, renderer.synthesizer)
        also = f", but {dropped} choices of style that it does not know were left out" if dropped else ""
        return document, f"The project was made with this model{also}."
    document = fit_classes(document, about.label_space, renderer.space, renderer.limits.pixels)
    document, dropped = fit_styles(document, renderer.synthesizer)
    told = (
        f"{dropped} choices of style that this model does not know were left out"
        if dropped
        else "its styles may mean other things here"
    )
    return document, (
        f"The project was made with another model ({about.recipe}, {about.model[:8]}), so its photograph will look "
        f"different; {told}."
    )


def _about(content: bytes) -> About:
    try:
        document = json.loads(content)
        written = document["format_version"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise DataError(f"{ABOUT} in the project is not what gesso writes. {archive.WRITTEN_WITH}") from None
    if written != FORMAT:
        raise DataError(
            f"The project has format version {str(written)[:20]}, this gesso reads version {FORMAT}: update gesso, or open it "
            "with the one that saved it."
        )
    try:
        return About.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{ABOUT} in the project: {place}: {first['msg'][:200]}. {archive.WRITTEN_WITH}") from None


# ---------------------------------------------------------------------------------------------------------- addresses


def router(renderer: Renderer, limits: Limits | None = None) -> APIRouter:
    """Addresses below /api/project."""
    limits = limits or renderer.limits
    api = APIRouter(prefix="/api/project")

    @api.post(
        "/save", openapi_extra=FORM, response_class=Response, responses={200: {"content": {"application/zip": {}}}}
    )
    async def save_project(request: Request) -> Response:
        """Save a project; the document may be a text field of any length, which FastAPI's own forms cut at 1 MB.

        Where it would be too large to open again, files are left out; the header X-Gesso-Left-Out names them.
        """
        async with request.form(max_files=16, max_fields=16, max_part_size=limits.bytes) as form:
            names = ("document", "photograph", "source", "opened")
            document, photograph, source, opened = [
                await one.read() if isinstance(one := form.get(name), Part) else one for name in names
            ]
        if document is None:
            raise DataError("The form lacks the field document: the document as JSON.")
        return await run_in_threadpool(_saved, renderer, document, photograph, source, opened, limits)

    @api.post("/open")
    def open_one(file: Annotated[UploadFile, File()]) -> OpenedProject:
        """Open a project."""
        return open_project(renderer, content_of(file), limits)

    return api


def _saved(
    renderer: Renderer,
    document: str | bytes,
    photograph: str | bytes | None,
    source: str | bytes | None,
    opened: str | bytes | None,
    limits: Limits,
) -> Response:
    picture, origin = (one if isinstance(one, bytes) else None for one in (photograph, source))  # text is no picture
    before = DocumentWire.parse(opened, "document of the photograph") if opened else None
    content, left_out = _packed(renderer, DocumentWire.parse(document), picture, (origin, before), limits)
    headers = {"Content-Disposition": 'attachment; filename="project.zip"'}
    if left_out:
        headers[LEFT_OUT] = ", ".join(left_out)
    return Response(content, media_type="application/zip", headers=headers)
