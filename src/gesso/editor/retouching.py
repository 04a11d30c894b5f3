"""Photographs that were opened, with only what was edited put into them: all else stays their own bytes, at their own size.

A page sends its photograph once, with the layout that was found in it and the style of everything there, and then edited layouts
(`/api/retouch/original`, `/api/retouch`). The model is asked for what is new; putting it in is done beside it, one at a time.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, File, Form, HTTPException, Response, UploadFile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict

from gesso.editor.forms import Seed, StyleText, read_style, resized
from gesso.editor.originals import Sent, Shelf, colour_profile, read_own
from gesso.editor.rendering import Priority, Renderer, Turns, encode_quickly
from gesso.editor.security import content_of
from gesso.editor.wire import DocumentWire
from gesso.errors import ConfigError, LabelError
from gesso.labels import ByteArray
from gesso.synthesis.editing import Layout, ObjectKey
from gesso.synthesis.retouching.composing import MARGIN
from gesso.synthesis.retouching.drawing import Changes, find_changes, put_in, render, retouch_record
from gesso.synthesis.retouching.edits import Edited
from gesso.synthesis.retouching.original import Original
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import PNG_KEY

SHOWN = 2**21  # pixels of a picture that is looked at; what is saved has the photograph's own size
HELD = 4  # times the bytes of the largest request: photographs that are held as they came
READY = 2**27  # bytes of photographs that are held decoded, with their layouts
LARGEST_MARGIN = 0.25  # of the photograph's height
TOLD = "X-Gesso-Retouched"
UNKNOWN = "The server does not hold this photograph any more: send it again, to /api/retouch/original."
EVERYTHING = (
    "Every pixel was changed, so that nothing of the photograph would stay. The whole picture is rendered instead; take back a "
    "part of what was done to keep the photograph around the rest."
)
HEADERS = {
    TOLD: {"description": "How much was touched, 0..1, and milliseconds, as JSON.", "schema": {"type": "string"}}
}

Name = Annotated[str, Form(pattern="^[0-9a-f]{64}$", description="What /api/retouch/original answered.")]
DocumentFile = Annotated[UploadFile, File(description="The document as JSON.")]
Margin = Annotated[
    float,
    Form(ge=0, le=LARGEST_MARGIN, description="By which what changed is grown, as a part of the photograph's height."),
]


class HeldPhotograph(BaseModel):
    """A photograph that edits can be put into.

    Attributes:
        original: What it is called.
        width: Pixels.
        height: Pixels.
    """

    model_config = ConfigDict(frozen=True)

    original: str
    width: int
    height: int


@dataclass(frozen=True)
class Ready:
    """A photograph, decoded.

    Attributes:
        original: With its layout and style.
        plain: (h, w, 3): the model's picture of that.
    """

    original: Original
    plain: ByteArray

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        layout = self.original.layout
        masks = sum(layer.mask.cells.nbytes for layer in layout.layers)
        return self.original.photograph.nbytes + self.plain.nbytes + 4 * layout.label.nbytes + masks


@dataclass(frozen=True)
class Composed:
    """A photograph with what was edited.

    Attributes:
        picture: (H, W, 3).
        touched: Share of its pixels that may differ from the photograph.
        record: What its PNG carries.
        profile: The photograph's colours.
    """

    picture: ByteArray
    touched: float
    record: Mapping[str, Any]
    profile: bytes | None


class Unheld(Exception):
    """A photograph that is not held, or not any more."""


class Retoucher:
    """Puts edits into photographs.

    Args:
        renderer: The model.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._sent = Shelf[Sent](HELD * renderer.limits.bytes)
        self._ready = Shelf[Ready](READY)
        self._composing = Turns()  # at its own size a photograph takes much memory

    def hold(self, sent: Sent) -> HeldPhotograph:
        """Keep a photograph for edits; seen through here, so that it can be used from now on.

        Raises:
            DataError: Edits cannot be put into it, or its document is damaged.
            LabelError: The document is none of the model's.
            StyleError: The style is none, or not the model's.
        """
        with self._composing.taken(Priority.RENDER, self._renderer.refuse_unwanted):
            photograph = read_own(sent.photograph, self._renderer.limits)
        self._ready.put(sent.name, ready := self._prepared(sent, photograph), ready.size)
        self._sent.put(sent.name, sent, sent.size)
        height, width, _ = photograph.shape
        return HeldPhotograph(original=sent.name, width=width, height=height)

    def retouch(self, name: str, edited: Layout, style: Style | None, margin: float, shown: bool) -> Composed:
        """A photograph with what is different in an edited layout.

        Args:
            name: Of the photograph.
            edited: The layout.
            style: What it wears.
            margin: By which what changed is grown: a part of the photograph's height.
            shown: Whether it is only to be looked at: of at most `SHOWN` pixels.

        Raises:
            Unheld: The photograph is not held.
            ConfigError: Nothing of it would stay.
            LabelError: The layout is of another size.
            StyleError: The model has not this style.
            Abandoned: Who asked no longer waits.
        """
        sent = self._sent.get(name)
        if sent is None:
            raise Unheld
        ready = self._ready.get(name) or self._prepared(sent)
        self._ready.put(name, ready, ready.size)
        original = ready.original
        if edited.shape != original.layout.shape:
            (high, wide), (height, width) = edited.shape, original.layout.shape
            raise LabelError(
                f"The edited layout is {wide} x {high} pixels, that of the photograph {width} x {height}: edit the one that the "
                "photograph was opened with."
            )
        worn = self._worn(style, edited)
        with self._renderer.turn():
            changes = find_changes(original, Edited(edited), worn)
            if changes.cells.all():
                raise ConfigError(EVERYTHING)
            generated = render(original, edited, worn) if changes.cells.any() else ready.plain
        with self._composing.taken(Priority.RENDER, self._renderer.refuse_unwanted):
            own = original if shown else replace(original, photograph=read_own(sent.photograph, self._renderer.limits))
            pixels = round(margin * own.size[0])
            if changes.cells.any():
                made = Edited(edited, copies(original.layout, edited, changes))
                picture, touched = put_in(own, made, changes, generated, ready.plain, pixels)
            else:
                picture, touched = own.photograph, np.zeros(own.size, dtype=bool)
            record = {} if shown else self._record(own, worn, pixels)
        return Composed(picture, float(touched.mean()), record, None if shown else colour_profile(sent.photograph))

    def _record(self, original: Original, worn: Style, margin: int) -> dict[str, Any]:
        synth = original.synth
        made = synth.record(worn.seed or 0, worn if synth.style_kind else None)
        return {**made, "retouched": retouch_record(original, "a layout", margin)}

    def _prepared(self, sent: Sent, photograph: ByteArray | None = None) -> Ready:
        """A photograph with its layout and the model's picture of it, for looking at."""
        limits, space = self._renderer.limits, self._renderer.space
        layout = DocumentWire.parse(sent.document, "photograph's document").layout(space, limits.pixels)
        style = self._worn(read_style(sent.style), layout)
        if photograph is None:
            with self._composing.taken(Priority.RENDER, self._renderer.refuse_unwanted):
                photograph = read_own(sent.photograph, limits)
        gray = bool((photograph == photograph[..., :1]).all())
        seen = as_seen(photograph)
        with self._renderer.turn() as synth:
            original = Original(synth, seen, layout, style, Style(), gray=gray)
            return Ready(original, render(original, layout, style))

    def _worn(self, style: Style | None, layout: Layout) -> Style:
        """A style as the model takes it for a layout, with a seed of its own."""
        with self._renderer.turn():
            worn = self._renderer.fitting(style, layout.label, layout.instance) or Style()
        return worn.model_copy(update={"seed": worn.seed or 0})

    def refuse_all(self) -> None:
        """Let those who wait notice that the renderer is closed."""
        self._composing.stir()

    def close(self) -> None:
        """Wait until nothing is put in any more; after the renderer was closed."""
        self.refuse_all()
        self._composing.rest()


def as_seen(photograph: ByteArray) -> ByteArray:
    """A photograph of at most `SHOWN` pixels."""
    height, width, _ = photograph.shape
    scale = min(1.0, (SHOWN / (height * width)) ** 0.5)
    return resized(photograph, (max(1, int(height * scale)), max(1, int(width * scale))))


def copies(first: Layout, second: Layout, changes: Changes) -> dict[ObjectKey, ObjectKey]:
    """The new objects of an edited layout that look like others of their class: copies of them, whose colours they take along."""
    before, after = changes.worn
    old = {layer.key for layer in first.layers}
    found = {}
    for layer in second.layers:
        looks = after.get((layer.key.class_index, layer.written_id))
        if layer.key in old or looks is None:
            continue
        like = (
            one.key
            for one in first.layers
            if one.key.class_index == layer.key.class_index
            and before.get((one.key.class_index, one.written_id)) == looks
        )
        source = next(like, None)
        if source is not None:
            found[layer.key] = source
    return found


def router(renderer: Renderer, retoucher: Retoucher) -> APIRouter:
    """The addresses /api/retouch/original and /api/retouch."""
    api = APIRouter(prefix="/api/retouch")

    @api.post("/original")
    def original(
        photograph: Annotated[UploadFile, File(description="PNG or JPEG.")],
        document: DocumentFile,
        style: StyleText = "",
        seed: Seed = 0,
    ) -> HeldPhotograph:
        """Hold a photograph with its layout and style, before any edit."""
        worn = (read_style(style) or Style()).model_dump(mode="json")
        worn["seed"] = seed if worn.get("seed") is None else worn["seed"]
        return retoucher.hold(Sent(content_of(photograph), content_of(document), json.dumps(worn)))

    @api.post("", response_class=Response, responses={200: {"content": {"image/png": {}}, "headers": HEADERS}, 404: {}})
    def retouch(
        original: Name,
        document: DocumentFile,
        style: StyleText = "",
        seed: Seed = 0,
        margin: Margin = MARGIN,
        shown: Annotated[bool, Form(description="For the screen: of at most 2 megapixels, without a record.")] = False,
    ) -> Response:
        """The photograph with only what was edited put into it, as PNG; 404 where it has to be sent again."""
        start = time.perf_counter()
        layout = DocumentWire.parse(content_of(document)).layout(renderer.space, renderer.limits.pixels)
        worn = read_style(style) or Style()
        worn = worn if worn.seed is not None else worn.model_copy(update={"seed": seed})
        try:
            made = retoucher.retouch(original, layout, worn, margin, shown)
        except Unheld:
            raise HTTPException(404, UNKNOWN) from None
        content = encode_quickly(made.picture) if shown else encoded(made)
        told = {"touched": made.touched, "milliseconds": round(1000 * (time.perf_counter() - start), 1)}
        return Response(content, media_type="image/png", headers={TOLD: json.dumps(told)})

    return api


def encoded(made: Composed) -> bytes:
    """A PNG with its record and the photograph's colour profile."""
    chunks, content = PngInfo(), io.BytesIO()
    chunks.add_itxt(PNG_KEY, json.dumps(made.record))
    picture: npt.NDArray[np.uint8] = np.ascontiguousarray(made.picture)
    Image.fromarray(picture).save(content, "PNG", pnginfo=chunks, icc_profile=made.profile)
    return content.getvalue()
