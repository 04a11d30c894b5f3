"""The editor's page and its server: drafts, tabs, a server that goes away, no WebSocket, late answers, previews."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from gesso.data import layouts
from gesso.synthesis.synthesizer import Synthesizer, load
from paged import (
    IS_RIGHT,
    PHOTOGRAPH,
    look,
    pixels,
    press,
    row,
    served,
    served_apart,
    start,
    visit,
)
from styled import (
    LEFT,
    RIGHT,
    SIZE,
)
from whole_styled import write_spade_model

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]


# ------------------------------------------------------------------------------------------------------------- drafts


# Resolves when the page has its drafts open.
OPENED = "async () => { await (await import('/net/autosave.js')).autosaveOf(window.gesso).found; }"


def test_a_reload_goes_on_where_one_was(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    page.evaluate(OPENED)  # a new browser makes its database at leisure
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    photo = look(page)
    page.reload()  # at once: what was painted is written while the page goes away
    page.locator(".card.draft").click()
    expect(page.locator(".objects li")).to_have_count(2)
    assert (look(page) == photo).all()


# A photograph that is too large to be stored in a moment, as the one that the layout came with.
LAID = """() => {
    const bytes = new Uint8Array(3_000_000).map((_, at) => at * at);
    gesso.replaceDocument({ ...gesso.document, source: new Blob([bytes], { type: "image/png" }) });
}"""
WHAT_CAME_BACK = """async () => {
    const { source } = gesso.document;
    const bytes = new Uint8Array(await source.arrayBuffer());
    return [source.type, bytes.length, bytes[2_999_999]];
}"""


@pytest.mark.parametrize("rest", [0, 1500])
def test_a_photograph_is_kept_with_what_was_painted(context: BrowserContext, address: str, rest: int) -> None:
    """Closed at once it is stored as bytes, which takes no time; closed later it was stored as it is."""
    page = start(context, address)
    page.evaluate(OPENED)
    page.evaluate(LAID)
    page.wait_for_timeout(1500)  # the photograph has been there for a while
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    page.wait_for_timeout(rest)
    page.reload()
    page.locator(".card.draft").click()
    expect(page.locator(".objects li")).to_have_count(2)
    assert page.evaluate(WHAT_CAME_BACK) == ["image/png", 3_000_000, 2_999_999**2 % 256]


# What is in the newest draft that is written as the page goes away, right after a change.
LEFT_BEHIND = """async () => {
    gesso.replaceDocument({ ...gesso.document });
    dispatchEvent(new Event("pagehide"));
    const answer = (request) => new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
    });
    const database = await answer(indexedDB.open("gesso-editor", 1));
    const all = await answer(database.transaction("drafts").objectStore("drafts").getAll());
    database.close();
    const { document: { source }, thumbnail } = all.sort((one, other) => other.saved - one.saved)[0];
    return [source, thumbnail].map((kept) => [kept instanceof Blob, kept.type, kept.bytes?.byteLength > 100]);
}"""


def test_a_page_that_goes_away_leaves_bytes(context: BrowserContext, address: str) -> None:
    """Blobs take the browser longer than the page lives."""
    page = start(context, address)
    page.evaluate(OPENED)
    page.evaluate(LAID)
    look(page)
    page.wait_for_timeout(1500)  # the photograph has been there for a while, and so has a thumbnail
    assert page.evaluate(LEFT_BEHIND) == [[False, "image/png", True], [False, "image/jpeg", True]]


def test_two_tabs_do_not_overwrite_each_other(context: BrowserContext, address: str) -> None:
    tabs = [start(context, address, example) for example in ("one", "two")]
    for page, name in zip(tabs, (f"car {LEFT}", "car 99"), strict=True):
        row(page, name).click()
        press(page, "Delete (Del)")
    photos = [look(page) for page in tabs]
    assert (photos[0] != photos[1]).any()
    tabs[1].wait_for_timeout(700)  # a draft is written a moment after the last change
    for page in tabs:
        page.close(run_before_unload=True)
    again = visit(context, address)
    drafts = again.locator(".card.draft")
    expect(drafts).to_have_count(2)
    drafts.first.click()
    expect(row(again, f"car {LEFT}")).to_be_visible()  # of the tab that was painted in last
    assert (look(again) == photos[1]).all()
    again.wait_for_timeout(700)  # now it is this tab's
    other = visit(context, address)
    other.locator(".card.draft").nth(1).click()
    assert (look(other) == photos[0]).all()


def test_a_draft_that_could_not_be_written_is_tried_again(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    page.wait_for_timeout(700)  # the first draft is written
    page.evaluate(
        """() => {
            const { put } = IDBObjectStore.prototype;
            window.mend = () => { IDBObjectStore.prototype.put = put; };
            IDBObjectStore.prototype.put = () => { throw new DOMException("the disk is on fire", "UnknownError"); };
        }"""
    )
    for name in (f"car {LEFT}", f"car {RIGHT}"):
        row(page, name).click()
        press(page, "Delete (Del)")
        page.wait_for_timeout(500)
    failed = page.get_by_role("alert").filter(has_text="the disk is on fire")
    expect(failed).to_have_count(1)
    page.evaluate("() => window.mend()")
    expect(page.locator(".toast", has_text="kept again")).to_be_visible(timeout=12_000)
    page.evaluate("() => { IDBObjectStore.prototype.put = () => { throw new Error('not while it closes'); }; }")
    page.reload()
    page.locator(".card.draft").click()
    expect(page.locator(".objects li")).to_have_count(1)


# -------------------------------------------------------------------------------------------------------- the server


def test_without_the_server_the_maps_can_be_saved(context: BrowserContext, model_file: Path) -> None:
    with served(load(model_file, "cpu")) as address:
        page = start(context, address, "toy scene 2")
        look(page)
    expect(page.locator(".banner")).to_be_visible()
    page.locator("#layout-pane").focus()
    page.keyboard.press("Control+s")
    toast = page.get_by_role("alert").locator(".toast", has_text="project was not saved")
    for name in ("Label map", "Colour map", "Instance map"):
        with page.expect_download() as found:
            toast.get_by_role("button", name=name).click()
        assert pixels(Path(found.value.path()).read_bytes()).shape[:2] == SIZE


@pytest.mark.parametrize("lost", ["killed", pytest.param("killed without a socket", marks=pytest.mark.slow)])
def test_a_server_that_comes_back_finds_nothing_lost(
    context: BrowserContext, model_file: Path, listing: layouts.Listing, lost: str
) -> None:
    if lost == "killed without a socket":
        context.add_init_script("delete window.WebSocket")
    with served_apart(model_file, listing.root) as (address, process):
        page = start(context, address)
        before = look(page)
        process.kill()
        process.wait()
        row(page, f"car {RIGHT}").click()
        press(page, "Delete (Del)")
        banner = page.locator(".banner")
        expect(banner).to_contain_text("The server is gone")
        row(page, f"car {LEFT}").click()
        press(page, "Move right (Shift: by 10)")
        assert page.evaluate(PHOTOGRAPH) is None
    with served_apart(model_file, listing.root, int(address.rsplit(":", 1)[1])):
        expect(page.locator(".toast", has_text="Nothing was lost")).to_be_visible(timeout=20_000)
        expect(banner).to_be_hidden()
        assert (look(page) != before).any()
        expect(page.locator(".objects li")).to_have_count(2)
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        assert (look(page) == before).all()


def test_another_model_in_its_place_is_said(
    tmp_path: Path, context: BrowserContext, model_file: Path, listing: layouts.Listing
) -> None:
    with served(load(model_file, "cpu"), listing=listing) as address:
        page = start(context, address)
        row(page, f"car {RIGHT}").click()
        press(page, "Delete (Del)")
        look(page)
    expect(page.locator(".banner")).to_be_visible()
    with served(load(write_spade_model(tmp_path / "m.safetensors"), "cpu"), int(address.rsplit(":", 1)[1])):
        toast = page.locator(".toast", has_text="another model")
        expect(toast).to_be_visible(timeout=20_000)
        toast.get_by_role("button", name="Load the page again").click()
        page.locator(".card.draft", has_text="with another model").click()
        expect(page.locator(".objects li")).to_have_count(2)
        look(page)


@pytest.mark.parametrize("how", ["missing", "blocked"])
def test_without_a_websocket_plain_requests_do(context: BrowserContext, address: str, how: str) -> None:
    if how == "missing":
        context.add_init_script("delete window.WebSocket")
    else:
        context.route_web_socket("**/api/live", lambda route: route.close())
    page = start(context, address)
    first = look(page)
    expect(page.locator(".toast", has_text="WebSocket")).to_have_count(1)
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    assert (look(page) != first).any()
    page.keyboard.press("Control+z")
    assert (look(page) == first).all()
    expect(page.locator(".toast", has_text="WebSocket")).to_have_count(1)


def test_an_answer_that_comes_late_is_not_shown_as_the_newest(context: BrowserContext, address: str) -> None:
    """The answer of the first request after the start is held back until that of the second was shown."""
    page, held = start_held(context, address)
    first = look(page)
    held.begin()
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    page.wait_for_timeout(300)
    assert page.evaluate(PHOTOGRAPH) is None, "the old photograph is not taken for the new layout's"
    row(page, f"car {RIGHT}").click()
    press(page, "Delete (Del)")
    photo = look(page)
    assert held.release() == 1
    page.wait_for_timeout(300)
    assert (look(page) == photo).all()
    assert (photo[IS_RIGHT] != first[IS_RIGHT]).any()


class Held:
    """The server's answers on their way to the page: the first after `begin` is kept until `release`."""

    def __init__(self) -> None:
        self.waiting: list[bytes | str] = []
        self._next = False
        self._route: WebSocketRoute | None = None

    def route(self, route: WebSocketRoute) -> None:
        self._route = route
        route.connect_to_server().on_message(self._came)

    def _came(self, message: bytes | str) -> None:
        if self._next:
            self.waiting.append(message)
        elif self._route:
            self._route.send(message)
        self._next = False

    def begin(self) -> None:
        self._next = True

    def release(self) -> int:
        assert self._route
        for message in self.waiting:
            self._route.send(message)
        return len(self.waiting)


def start_held(context: BrowserContext, address: str) -> tuple[Page, Held]:
    held = Held()
    context.route_web_socket("**/api/live", held.route)
    return start(context, address), held


def test_previews_come_while_a_stroke_is_drawn(context: BrowserContext, address: str) -> None:
    """Four a second or more, smaller ones where needed, and the full photograph once the pointer rests."""
    page = start(context, address)
    look(page)
    shown = page.evaluate(
        """async () => {
            const { gesso: app } = window;
            const { setSeed } = await import("/model/edits.js");
            const seen = [];
            const stop = app.on("picture", () => seen.push(app.picture.document.styles.seed));
            const start = performance.now();
            for (let step = 1; performance.now() - start < 2000; step += 1) {
                app.preview(setSeed(app.document, step));
                await new Promise((resolve) => setTimeout(resolve, 16));
            }
            const during = [...seen];
            const last = app.shown;
            const there = () => app.picture.document === last && app.picture.whole;
            while (!there()) await new Promise((resolve) => setTimeout(resolve, 20));
            stop();
            app.preview(null);
            return during;
        }"""
    )
    assert len(shown) >= 8, shown
    assert shown == sorted(shown), "never an older one after a newer one"
    assert page.wait_for_function(PHOTOGRAPH), "a stroke that is given up leaves the photograph of the layout"


class Slow:
    """A Synthesizer whose whole photographs take four seconds of layers."""

    def __init__(self, like: Synthesizer) -> None:
        self.like = like

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)

    def editing_session(self) -> Any:
        return SimpleNamespace(partial=False)

    def __call__(self, label: Any, *others: Any) -> Any:
        layer, nothing = torch.nn.Identity(), torch.zeros(1)
        for _ in range(400 if label.shape == SIZE else 0):
            layer(nothing)
            time.sleep(0.01)
        return self.like(label, *others)


def test_who_paints_on_after_a_rest_sees_previews_at_once(context: BrowserContext, model_file: Path) -> None:
    """A pointer that rests gets the whole photograph; one that moves on does not wait for it, nor does the end of the stroke."""
    slow: Any = Slow(load(model_file, "cpu"))
    with served(slow) as address:
        page = start(context, address, "toy scene 2")
        look(page)
        found = page.evaluate(
            """async () => {
                const { gesso: app } = window;
                const { setSeed } = await import("/model/edits.js");
                const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
                let seen = [], step = 0;
                app.on("picture", () => seen.push(app.picture.scale));
                const paint = async (goesOn) => {
                    for (const start = performance.now(); goesOn(performance.now() - start); await sleep(16)) {
                        app.preview(setSeed(app.document, step += 1));
                    }
                };
                await paint((time) => time < 15_000 && !seen.length);
                await sleep(600); // the whole photograph is asked for
                seen = [];
                await paint((time) => time < 15_000 && seen.length < 2);
                return seen;
            }"""
        )
    assert len(found) == 2 and max(found) < 1, "previews, not the whole one that was asked for at rest"


def test_a_stroke_given_up_while_its_picture_is_decoded_leaves_no_trace(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    page.evaluate(
        """async () => {
            const { gesso: app, createImageBitmap: decode } = window;
            const begun = new Promise((begin) => {
                window.createImageBitmap = async (...what) => {
                    begin();
                    await new Promise((resolve) => { window.decodeNow = resolve; });
                    return decode(...what);
                };
            });
            app.preview((await import("/model/edits.js")).setSeed(app.document, 5));
            await begun;
            window.createImageBitmap = decode;
            app.preview(null);
            window.decodeNow();
        }"""
    )
    page.wait_for_timeout(500)
    assert page.wait_for_function(PHOTOGRAPH), "the photograph of the layout, not of the stroke"
