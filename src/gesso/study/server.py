"""The page of a study and its few addresses.

Nothing that a browser sends becomes a path, and nothing that is sent to it names a method.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from gesso.errors import DataError
from gesso.serving import http_server, known_host
from gesso.study.design import REAL, Side, Study, load, picture_file
from gesso.study.store import Participant, Refusal, Store, Vote
from gesso.study.trials import draw

STATIC = {
    "index.html": "text/html; charset=utf-8",
    "study.css": "text/css; charset=utf-8",
    "main.js": "text/javascript; charset=utf-8",
    "sitting.js": "text/javascript; charset=utf-8",
    "stage.js": "text/javascript; charset=utf-8",
    "exposure.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MOST_BYTES = 4096  # of a request's body; a vote has some 200

Token = Annotated[str, Header(alias="X-Participant", max_length=100)]
Tab = Annotated[str, Header(alias="X-Tab", max_length=100)]
Position = Annotated[int, InPath(ge=0, le=100_000)]
Milliseconds = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]


class Showing(BaseModel):
    """The name that the page gave to one showing of a trial, so that a request sent twice is one showing."""

    model_config = ConfigDict(extra="forbid")

    showing: str = Field(pattern=r"^[0-9a-f]{16,64}$")


class Ballot(BaseModel):
    """A vote as the page sends it."""

    model_config = ConfigDict(extra="forbid")

    side: Side
    showing: str = Field(pattern=r"^[0-9a-f]{16,64}$")
    shown_ms: tuple[Milliseconds, ...] = Field(max_length=2)
    frame_ms: Milliseconds
    response_ms: Milliseconds


def create_app(folder: Path, names: tuple[str, ...] = (), kiosk: bool = False) -> FastAPI:
    """The web application of one study.

    Args:
        folder: The study folder.
        names: Host names, beside localhost and plain addresses, under which the page may be reached.
        kiosk: Whether the last page offers to begin again, for several participants at one computer.

    Raises:
        DataError: The folder is no study.
    """
    study = load(folder)
    store = Store(folder / "study.sqlite")
    store.sizes()  # a missing or damaged database is said now, not at the first answer

    @asynccontextmanager
    async def kept_open(app: FastAPI) -> AsyncIterator[None]:
        with store.kept_open():
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=kept_open)
    app.middleware("http")(partial(_guard, names))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(DataError, _failed)
    _add_page(app)
    _add_study(app, study, store, kiosk)
    _add_trials(app, study, store, folder)
    return app


# ------------------------------------------------------------------------------------------------------------- guards


async def _guard(
    names: tuple[str, ...], request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Refuse foreign hosts, posts from foreign pages and long bodies; set the headers of every answer."""
    refusal = _fault(names, request)
    response = JSONResponse({"detail": refusal[1]}, refusal[0]) if refusal else await call_next(request)
    response.headers.update(HEADERS)
    return response


def _fault(names: tuple[str, ...], request: Request) -> tuple[int, str] | None:
    host = request.headers.get("host", "")
    if not known_host(host, names):
        return 421, "This server is not called so; whoever runs the study can add the name with --name."
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("origin", "")
    if origin not in (f"http://{host}", f"https://{host}"):
        return 403, "Answers are taken from the study's own page only."
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MOST_BYTES:
        return 413, "That is no answer: it is too long."
    return None


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"detail": error.message}, error.status)


def _failed(request: Request, error: Exception) -> Response:
    """The database is locked for long, the disk is full: the page tries again."""
    return JSONResponse({"detail": "The study cannot take answers at the moment."}, 503)


# ---------------------------------------------------------------------------------------------------------- addresses


def _add_page(app: FastAPI) -> None:
    """The page's own files, from a fixed list, read once."""
    for name, kind in STATIC.items():
        content = files("gesso.study").joinpath("static", name).read_bytes()
        answer = partial(Response, content, media_type=kind)
        app.add_api_route(f"/{'' if name == 'index.html' else name}", _constant(answer), response_model=None)


def _constant(answer: Callable[[], Response]) -> Callable[[], Response]:
    def get() -> Response:
        return answer()

    return get


def _add_study(app: FastAPI, study: Study, store: Store, kiosk: bool) -> None:
    @app.get("/api/study")
    def describe() -> dict[str, object]:
        sitting = study.trials + study.practice + study.checks
        return {
            "id": study.id,
            "title": study.title,
            "question": study.question,
            "protocol": study.protocol,
            "camera": REAL in study.methods,
            "size": study.size,
            "total": sitting,
            "practice": study.practice,
            "exposures": study.exposures,
            "kiosk": kiosk,
        }

    @app.post("/api/participants")
    def enrol() -> dict[str, str]:
        return {"token": store.enrol(partial(draw, study))}

    @app.post("/api/tabs")
    def open_tab(token: Token) -> dict[str, str]:
        return {"tab": store.open_tab(token)}


def _add_trials(app: FastAPI, study: Study, store: Store, folder: Path) -> None:
    @app.get("/api/trials")
    def next_trial(token: Token, tab: Tab) -> dict[str, object]:
        participant = store.find(token, tab)
        progress = {"position": participant.position, "total": participant.total}
        if participant.position == participant.total:
            return {**progress, "done": True}
        trial = store.trial(participant, participant.position)
        return {**progress, "done": False, "practice": trial.kind == "practice", "exposure": trial.exposure}

    @app.get("/api/trials/{position}/{side}", response_model=None)
    def picture(position: Position, side: Side, token: Token, tab: Tab) -> Response:
        trial = store.trial(_near(store.find(token, tab), position), position)
        file = picture_file(folder, study.by_id[trial.left if side == "left" else trial.right].id)
        return Response(file.read_bytes(), media_type="image/png")

    @app.post("/api/trials/{position}/showings")
    def show(position: Position, showing: Showing, token: Token, tab: Tab) -> dict[str, str]:
        store.show(token, tab, position, showing.showing)
        return {"showing": showing.showing}

    @app.post("/api/trials/{position}/vote")
    def vote(position: Position, ballot: Ballot, token: Token, tab: Tab) -> dict[str, object]:
        expected = {"ab": 0, "timed": 1, "real-or-fake": 2}[study.protocol]
        if len(ballot.shown_ms) != expected:
            raise Refusal(422, f"This study measures {expected} exposures per trial.")
        trial, new = store.vote(token, tab, position, Vote(**ballot.model_dump()))
        feedback = {"correct": trial.correct} if trial.kind == "practice" else {}
        return {"counted": new, **feedback}


def _near(participant: Participant, position: int) -> Participant:
    """Pictures are handed out for the next trial and the one after it, which is loaded ahead."""
    if not participant.position <= position <= participant.position + 1:
        raise Refusal(403, "The pictures of this trial are not shown now.")
    return participant


# ------------------------------------------------------------------------------------------------------------ running


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until interrupted."""
    http_server(app).run(sockets=[listening])
