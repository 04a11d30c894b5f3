"""The editor's web application: the page, the model, and the addresses that both the page and scripts use.

Endpoints that compute are plain functions, which run in threads; the page's files and what the model says of itself are answered
on the event loop, so that they come however many photographs are being computed.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

import torch
import uvicorn
from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from gesso.data.layouts import Listing
from gesso.editor import library, live, opening, projects, retouching, segmenting, styling, swatches
from gesso.editor.examples import Example, Loaded, collect, trained_size
from gesso.editor.forms import Scene, scenes
from gesso.editor.guard import Guard
from gesso.editor.rendering import Abandoned, Closing, Renderer, encode_png
from gesso.editor.retouching import Retoucher
from gesso.editor.security import Limits
from gesso.editor.segmenting import Faithful, Reader
from gesso.editor.workers import release_workers
from gesso.errors import GessoError
from gesso.labels import LabelSpace
from gesso.serving import http_server
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import Synthesizer

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NO_MEMORY = "There is not enough free memory for this: take a smaller picture or scale, or close other programs."
GOODBYE = 3  # seconds that requests may take to end after Ctrl-C


class ClassWire(BaseModel):
    """One class, as `gesso.labels.LabelClass` has it; `value` stands for it in label files."""

    index: int
    name: str
    colour: tuple[int, int, int]
    thing: bool
    value: int


class LimitsWire(BaseModel):
    """The most pixels of a layout, and bytes of a request."""

    pixels: int
    bytes: int


class ModelWire(BaseModel):
    """What the page has to know of the model.

    Attributes:
        name: What people call it.
        hash: SHA-256 of tensors and network arguments.
        recipe: "pix2pix", "pix2pixhd" or "spade".
        classes: In the order of their indices.
        ignored: Whether it was trained with ignored pixels, and takes them.
        ignored_value: What label files hold where a pixel is ignored; None where the label space does not say.
        size: (height, width) of training.
        multiple: Sizes that it takes without padding are multiples of this.
        style_kind: What its style is; None where it has none.
        style_regions: What shares a vector of features.
        modes: How many modes the classes have, by name.
        channels: Numbers in a z or a vector of features.
        encoder: Whether it reads styles from photographs.
        segmenter: What the segmenter learned from; None without one.
        faithfulness: Whether it can be seen where a photograph does not show what its layout says.
        examples: How many are listed.
        library: How many layouts are looked through for objects to paste; /api/library lists what was found.
        project: The name of the project to begin with, to be had at /api/project; None without one.
        limits: What is taken.
        version: Of gesso.
        session: New at each start of the server.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: str
    hash: str
    recipe: str
    classes: tuple[ClassWire, ...]
    ignored: bool
    ignored_value: int | None
    size: tuple[int, int]
    multiple: int
    style_kind: Literal["features", "z", "noise"] | None
    style_regions: Literal["instance", "label"] | None
    modes: dict[str, int]
    channels: int
    encoder: bool
    segmenter: str | None
    faithfulness: bool
    examples: int
    library: int
    project: str | None
    limits: LimitsWire
    version: str
    session: str


@dataclass(frozen=True)
class Project:
    """A project file to begin with.

    Attributes:
        name: Of the file.
        content: Its bytes.
    """

    name: str
    content: bytes


def create_app(
    synthesizer: Synthesizer,
    *,
    name: str = "",
    listing: Listing | None = None,
    examples: Sequence[Example] | None = None,
    segmenter: PhotoSegmenter | None = None,
    faithfulness: Faithful | None = None,
    project: Project | None = None,
    limits: Limits | None = None,
    names: tuple[str, ...] = (),
    token: str | None = None,
) -> FastAPI:
    """The web application of one model.

    Args:
        synthesizer: The model.
        name: What people call it; its preset or recipe if empty.
        listing: A dataset: layouts to start from, and objects to paste.
        examples: Layouts to start from, instead of the dataset's.
        segmenter: Finds the layout of a photograph; its classes are the model's.
        faithfulness: Compares a layout with what a segmenter found, as `gesso.evaluate.faithfulness.faithfulness` does.
        project: What the page opens first.
        limits: Of what is taken.
        names: Host names, beside localhost and plain addresses, under which the page may be reached.
        token: What clients must know; None lets everyone in who reaches the server.

    Raises:
        ConfigError: The model takes pictures, not layouts.
        DataError: The dataset is of another kind, or of other classes than the model's.
        ModelFileError: The model's preprocessing is not understood.
    """
    renderer = Renderer(synthesizer, limits)
    reader = None if segmenter is None else Reader(renderer, segmenter)
    retoucher = Retoucher(renderer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        renderer.closed.clear()
        yield
        await run_sync(_finish, renderer, reader, retoucher)

    app = FastAPI(
        lifespan=lifespan,
        title="gesso edit",
        version=version("gesso"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.renderer, app.state.others = renderer, [one for one in (reader, retoucher) if one is not None]
    app.add_middleware(Guard, limits=renderer.limits, names=names, token=token)
    _add_handlers(app)
    _add_page(app, files("gesso.editor").joinpath("static"))
    shown = [_until_closed(one, renderer) for one in (collect(synthesizer, listing) if examples is None else examples)]
    _add_model(app, _describe(renderer, name, len(shown), segmenter, faithfulness, project))
    _add_parts(app, renderer, shown, reader, faithfulness)
    app.include_router(retouching.router(renderer, retoucher))
    _add_render(app, renderer)
    if project is not None:
        _add_project(app, renderer, project)
    release_workers()  # of the thread that read the model: others compute from here on
    return app


def _until_closed(example: Example, renderer: Renderer) -> Example:
    """An example that is not read any more once the editor ends, so that threads that read many end too."""

    def load() -> Loaded:
        renderer.refuse_closed()
        return example.load()

    return Example(example.name, load)


def _finish(renderer: Renderer, reader: Reader | None, retoucher: Retoucher) -> None:
    """Wait until nothing computes: Python must not end while a thread is inside torch."""
    renderer.close()
    if reader is not None:
        reader.close()
    retoucher.close()
    for thread in threading.enumerate():
        if thread.name.startswith("gesso-"):  # swatches and the library, which are made in the background
            thread.join(GOODBYE)


# ----------------------------------------------------------------------------------------------------- what goes wrong


def _add_handlers(app: FastAPI) -> None:
    """Everything that goes wrong is one sentence in JSON."""
    app.add_exception_handler(Closing, lambda request, error: _sentence(503, str(error)))
    app.add_exception_handler(GessoError, lambda request, error: _sentence(422, str(error)))
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Abandoned, lambda request, error: Response(status_code=499))  # nobody reads it
    for kind in (MemoryError, torch.OutOfMemoryError):
        app.add_exception_handler(kind, lambda request, error: _sentence(507, NO_MEMORY))


def _sentence(status: int, said: str) -> Response:
    """An error as clients read it; half a character, as JSON may hold it, does not spoil the answer."""
    return JSONResponse({"detail": said[: live.LONGEST].encode(errors="replace").decode()}, status)


def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in error.errors()]
    return _sentence(422, f"The request is not understood: {'; '.join(faults)}.")


# ---------------------------------------------------------------------------------------------------------- addresses


def _add_page(app: FastAPI, folder: Traversable) -> None:
    """The page's own files, from a list that is made now, and read once."""
    found = static_files(folder)
    for path, content in found.items():
        kind = KINDS[path[path.rindex(".") :]]
        for address in {"index.html": ["/"], "icon.svg": ["/icon.svg", "/favicon.ico"]}.get(path, [f"/{path}"]):
            app.add_api_route(
                address, _constant(content, kind), methods=["GET", "HEAD"], include_in_schema=False, response_model=None
            )


def static_files(folder: Traversable, under: str = "") -> dict[str, bytes]:
    """The contents of the page's files by their path below a folder: pages, styles, scripts and drawings."""
    found = {}
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            found.update(static_files(item, f"{under}{item.name}/"))
        elif any(item.name.endswith(ending) for ending in KINDS):
            found[under + item.name] = item.read_bytes()
    return found


def _constant(content: bytes, kind: str) -> Callable[[], Any]:
    async def get() -> Response:
        return Response(content, media_type=kind)

    return get


def _add_model(app: FastAPI, described: ModelWire) -> None:
    @app.get("/api/model")
    async def model() -> ModelWire:
        """What the model is, and what this server can do."""
        return described


def _describe(
    renderer: Renderer,
    name: str,
    examples: int,
    segmenter: PhotoSegmenter | None,
    faithfulness: Faithful | None,
    project: Project | None,
) -> ModelWire:
    synth, limits = renderer.synthesizer, renderer.limits
    info, space = synth.info, synth.style_space
    return ModelWire(
        name=name or info.preset or info.recipe,
        hash=synth.hash,
        recipe=info.recipe,
        classes=_classes(renderer.space),
        ignored=info.semantics.dont_care or bool(info.semantics.colours),
        ignored_value=next(iter(renderer.space.ignore), None),
        size=trained_size(synth),
        multiple=synth.multiple,
        style_kind=info.style.kind if info.style else None,
        style_regions=info.style.regions if info.style and info.style.kind == "features" else None,
        modes={space.class_name(index): len(modes) for index, modes in space.modes.items()} if space else {},
        channels=info.style.channels if info.style else 0,
        encoder=_has_encoder(synth),
        segmenter=segmenter.name if segmenter else None,
        faithfulness=bool(segmenter and faithfulness),
        examples=min(opening.LISTED, examples),
        library=examples,
        project=project.name if project else None,
        limits=LimitsWire(pixels=limits.pixels, bytes=limits.bytes),
        version=version("gesso"),
        session=secrets.token_hex(8),
    )


def _classes(space: LabelSpace) -> tuple[ClassWire, ...]:
    return tuple(
        ClassWire(index=index, name=one.name, colour=one.colour, thing=one.thing, value=one.values[0])
        for index, one in enumerate(space.classes)
    )


def _has_encoder(synthesizer: Synthesizer) -> bool:
    try:
        synthesizer.require_encoder()
    except GessoError:
        return False
    return True


def _add_parts(
    app: FastAPI,
    renderer: Renderer,
    examples: Sequence[Example],
    reader: Reader | None,
    faithfulness: Faithful | None,
) -> None:
    """Everything around the renderer."""
    limits = renderer.limits
    for router in (
        live.router(renderer),
        opening.router(renderer, examples, limits, reader.document if reader else None),
        projects.router(renderer, limits),
        library.router(examples, renderer.space),
        swatches.router(renderer, examples),
        styling.router(renderer),
        segmenting.router(renderer, reader, faithfulness),
    ):
        app.include_router(router)


def _add_project(app: FastAPI, renderer: Renderer, project: Project) -> None:
    @app.get("/api/project")
    def opened() -> projects.OpenedProject:
        """The project to begin with; as if it had been sent to /api/project/open."""
        return projects.open_project(renderer, project.content)


def _add_render(app: FastAPI, renderer: Renderer) -> None:
    sent = Depends(scenes(renderer))  # as a default: annotations do not see what is local

    @app.post("/api/render", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def render(
        scene: Scene = sent,
        scale: Annotated[float, Form(description="1, or 0.5, 0.25 or 0.125 for a smaller picture.")] = 1,
    ) -> Response:
        """The photograph of a layout as PNG, with the record in it by which it can be made again."""
        rendered = renderer.render(scene.label, scene.instance, scene.style, scene.seed, scale)
        start = time.perf_counter()
        record = renderer.synthesizer.record(scene.seed, rendered.style) | ({} if scale == 1 else {"scale": scale})
        content = encode_png(rendered.picture, record)
        took = {**rendered.milliseconds, "encode": 1000 * (time.perf_counter() - start)}
        told = json.dumps({key: round(value, 2) for key, value in took.items()})
        return Response(content, media_type="image/png", headers={"X-Gesso-Milliseconds": told})


# ------------------------------------------------------------------------------------------------------------ running


def run(app: FastAPI, listening: socket.socket, limits: Limits | None = None) -> None:
    """Serve until interrupted."""
    server(app, limits).run(sockets=[listening])


def server(app: FastAPI, limits: Limits | None = None) -> uvicorn.Server:
    """What serves the editor: uvicorn, quiet, with WebSockets of limited size that are not compressed (PNG are already).

    What goes wrong is logged by `gesso.editor.guard`; what strangers send that is no request is nobody's concern.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    renderer, others = app.state.renderer, app.state.others

    def ending() -> None:
        renderer.refuse_all()
        for one in others:
            one.refuse_all()

    most = (limits or Limits()).bytes + live.MOST_HEADER
    return http_server(
        app,
        ending,
        log_level="critical",
        ws="auto",
        ws_max_size=most,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GOODBYE,
    )
