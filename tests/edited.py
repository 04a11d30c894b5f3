"""What the tests of the editor's files share: an application around a tiny model, and files as people send them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from PIL import Image

from gesso.editor.wire import DocumentWire, png_bytes
from gesso.errors import GessoError
from gesso.synthesis.editing import Layout
from styled import SPACE

File = tuple[str, bytes]


def client(*routers: APIRouter) -> TestClient:
    """The routers behind what the whole application does with errors."""
    app = FastAPI()

    def refuse(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    app.add_exception_handler(GessoError, refuse)
    for router in routers:
        app.include_router(router)
    return TestClient(app)


def png(array: npt.NDArray[Any], **options: Any) -> bytes:
    return save(Image.fromarray(array), "PNG", **options)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene_files(label: npt.NDArray[Any], instance: npt.NDArray[Any]) -> dict[str, File]:
    """A layout as the page sends it."""
    ids = np.ascontiguousarray(instance, dtype="<i4").view(np.uint8).reshape(*instance.shape, 4)
    return {"label": ("label.png", png_bytes(label.astype(np.uint16))), "instance": ("instance.png", png_bytes(ids))}


def picture_of(url: str) -> npt.NDArray[Any]:
    """The pixels of a data URL."""
    head, _, body = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def layout_of(answer: Any) -> Layout:
    """The layout of a document that an address answered, whatever else is in it."""
    fields = {"version", "width", "height", "ground", "objects", "usedIds", "styles", "name"}
    document = DocumentWire.parse(json.dumps({key: value for key, value in answer.items() if key in fields}))
    return document.layout(SPACE)


def said(response: Any, *words: str) -> str:
    """The one sentence of a refusal, which holds all of these words."""
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert isinstance(detail, str), detail
    for word in words:
        assert word in detail, detail
    assert "\n" not in detail
    return detail
