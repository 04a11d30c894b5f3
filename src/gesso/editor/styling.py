"""Styles in the editor: how an object looks in each mode, what everything wears, what a photograph wears, what lies between."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, File, Form, Response, UploadFile

from gesso.editor.examples import comfortable_size, trained_size
from gesso.editor.forms import InstanceFile, LabelFile, Scene, StyleText, read_layout, read_style, resized, scenes
from gesso.editor.label_files import refuse_animated
from gesso.editor.rendering import Priority, Renderer
from gesso.editor.security import content_of, read_photograph
from gesso.editor.wire import png_bytes
from gesso.errors import LabelError, StyleError
from gesso.labels import ByteArray
from gesso.pictures import Picture
from gesso.synthesis.latents import between
from gesso.synthesis.style import Style
from gesso.synthesis.style_space import mix
from gesso.synthesis.synthesizer import Synthesizer

MARGIN = 0.15  # of an object's longer side, shown around it
LEAST = 4  # pixels of margin, at the least
RATIO = 1.02  # of width to height, up to which a photograph is stretched to a layout

ClassName = Annotated[str, Form(alias="class", max_length=200, description="Name of the class.")]
ObjectId = Annotated[int | None, Form(ge=-(2**31), lt=2**31, description="Of the object; without it the whole class.")]
ModeNumber = Annotated[int, Form(ge=0, lt=2**16)]
Scale = Annotated[float, Form(description="1, or 0.5, 0.25 or 0.125 for a smaller picture.")]
Between = Annotated[float, Form(ge=0, le=1, description="0 for the first, 1 for the second.")]


def in_mode(scene: Scene, synthesizer: Synthesizer, class_name: str, id: int | None, mode: int) -> Style:
    """The style in which one object, or all of a class, wears a mode.

    Raises:
        StyleError: Objects have no style of their own, or there is no such class or mode.
    """
    space = synthesizer.require_style()
    choice: dict[str, Any] = {class_name: mode}
    if id is None or space.regions == "label":
        later = Style(classes=choice)
    else:
        later = Style(instances={f"{class_name}:{id}": mode})
    style = (scene.style or Style()).updated(later)
    space.vector(mode, _index(class_name, synthesizer))
    return style


def _index(class_name: str, synthesizer: Synthesizer) -> int:
    names = synthesizer.require_style().labels.names
    if class_name not in names:
        raise StyleError(f"There is no class {class_name[:80]!r} in this model; its classes are {', '.join(names)}.")
    return names.index(class_name)


def shown_at(scene: Scene, index: int, id: int | None, class_name: str) -> npt.NDArray[np.bool_]:
    """Where a layout shows an object, or a class.

    Raises:
        LabelError: Nowhere.
    """
    mask = scene.label == index
    if id is not None:
        mask &= scene.instance == id
    if not mask.any():
        what = class_name if id is None else f"the object {class_name}:{id}"
        raise LabelError(f"The layout does not show {what}: it may be hidden behind others. Bring it forward first.")
    return mask


def cropped(picture: Picture, mask: npt.NDArray[np.bool_]) -> Picture:
    """The part of a photograph around a mask of the layout, with a margin.

    Args:
        picture: (h, w, 3), perhaps at a smaller scale than the layout.
        mask: (H, W), not empty.
    """
    spans = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    margin = max(LEAST, round(MARGIN * max(span[-1] - span[0] + 1 for span in spans)))
    cut = []
    for span, whole, there in zip(spans, mask.shape, picture.shape[:2], strict=True):
        scale = there / whole
        first, last = int((span[0] - margin) * scale), int(np.ceil((span[-1] + 1 + margin) * scale))
        cut.append(slice(max(0, first), max(1, min(there, last))))
    return picture[cut[0], cut[1]]


def router(renderer: Renderer) -> APIRouter:
    """The addresses /api/mode, /api/styles, /api/encode and /api/interpolate."""
    api = APIRouter(prefix="/api")
    _add_modes(api, renderer)
    _add_photographs(api, renderer)
    _add_between(api, renderer)
    return api


def _add_modes(api: APIRouter, renderer: Renderer) -> None:
    given: Any = Depends(scenes(renderer))  # as a default: annotations do not see what is local

    @api.post("/mode", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def mode(
        class_name: ClassName,
        mode: ModeNumber,
        scene: Scene = given,
        id: ObjectId = None,
        scale: Scale = 1,
    ) -> Response:
        """An object in one of its class's modes, cropped to it."""
        index = _index(class_name, renderer.synthesizer)
        whole = renderer.synthesizer.require_style().regions == "label"
        mask = shown_at(scene, index, None if whole else id, class_name)
        style = in_mode(scene, renderer.synthesizer, class_name, id, mode)
        rendered = renderer.render(scene.label, scene.instance, style, scene.seed, scale, priority=Priority.CROP)
        return Response(png_bytes(cropped(rendered.picture, mask)), media_type="image/png")

    @api.post("/styles")
    def styles(scene: Scene = given) -> dict[str, Any]:
        """What everything in a layout wears, as a style that holds it."""
        with renderer.turn() as synthesizer:
            return _written(_worn(scene, renderer, synthesizer))


def _worn(scene: Scene, renderer: Renderer, synthesizer: Synthesizer) -> Style:
    """The style that holds what a scene wears; for those who have the turn."""
    if synthesizer.style_kind == "z":
        return Style(z=synthesizer.z(scene.style, scene.seed))
    if synthesizer.style_kind == "noise":
        chosen = scene.style or Style()
        return Style(seed=scene.seed if chosen.seed is None else chosen.seed, noise=chosen.noise)
    space = synthesizer.require_style()
    style = renderer.fitting(scene.style, scene.label, scene.instance)
    return space.style(synthesizer.resolve(scene.label, scene.instance, style, scene.seed))


def _written(style: Style) -> dict[str, Any]:
    """A style as JSON, without what it leaves open."""
    return {key: value for key, value in style.model_dump(mode="json").items() if value not in (None, {})}


def _add_photographs(api: APIRouter, renderer: Renderer) -> None:
    trained = trained_size(renderer.synthesizer)

    @api.post("/encode")
    def encode(
        photograph: Annotated[UploadFile, File(description="PNG or JPEG.")],
        label: Annotated[UploadFile | None, File(description="Its layout; not needed for z.")] = None,
        instance: InstanceFile = None,
        belongs: Annotated[
            bool, Form(description="It is known to be the layout's: stretch it, whatever it takes.")
        ] = False,
    ) -> dict[str, Any]:
        """The style of a photograph: of each object of its layout, or z."""
        renderer.synthesizer.require_encoder()
        content = content_of(photograph)
        refuse_animated(content, "photograph")
        picture = read_photograph(content, renderer.limits)
        if renderer.synthesizer.style_kind == "z":
            size = comfortable_size((picture.shape[0], picture.shape[1]), trained)
            with renderer.turn() as synthesizer:
                return _written(synthesizer.encode(resized(picture, size)))
        if label is None:
            raise LabelError(
                "Each object has a style of its own here: send the photograph's layout too (label, instance)."
            )
        layout = read_layout(renderer, label, instance)
        size = (layout.label.shape[0], layout.label.shape[1])
        fitting = resized(picture, size) if belongs else stretched(picture, size)
        with renderer.turn() as synthesizer:
            return _written(synthesizer.encode(fitting, layout.label, layout.instance))


def stretched(photograph: ByteArray, size: tuple[int, ...]) -> ByteArray:
    """A photograph at the size of a layout, where it has its proportions.

    Raises:
        LabelError: It has others.
    """
    height, width = photograph.shape[:2]
    ratio = (width / height) / (size[1] / size[0])
    if not 1 / RATIO <= ratio <= RATIO:
        raise LabelError(
            f"The photograph is {width} x {height} pixels, the layout {size[1]} x {size[0]}: it cannot be a photograph of it. "
            "Give the one that the layout belongs to; its objects' styles are read from it place by place."
        )
    return resized(photograph, (size[0], size[1]))


def _add_between(api: APIRouter, renderer: Renderer) -> None:
    @api.post("/interpolate")
    def interpolate(
        first: StyleText, second: StyleText, t: Between, label: LabelFile, instance: InstanceFile = None
    ) -> dict[str, Any]:
        """The style between two: 0 is the first, 1 the second."""
        styles = [
            read_style(text, f"{which} style") or Style() for text, which in ((first, "first"), (second, "second"))
        ]
        if renderer.synthesizer.style_kind == "z":
            with renderer.turn() as synthesizer:
                a, b = (synthesizer.z(style) for style in styles)
            return _written(Style(z=between(a, b, t)))
        layout = read_layout(renderer, label, instance)
        with renderer.turn() as synthesizer:
            space = synthesizer.require_style()
            ends = [
                synthesizer.resolve(
                    layout.label, layout.instance, renderer.fitting(style, layout.label, layout.instance)
                )
                for style in styles
            ]
        return _written(space.style(mix(ends[0], ends[1], t)))
