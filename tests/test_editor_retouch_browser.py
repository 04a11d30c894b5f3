"""A photograph in the editor's page, in Chromium: edited, seen, saved, taken back, stored; all else stays its own bytes."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect
from scipy import ndimage

from gesso.demo_model import shipped_model
from gesso.editor import retouching
from gesso.synthesis.synthesizer import load, read_record
from kept import LAYOUT, SIZE, Bytes, Knows, jpeg, street
from paged import look, offer, pixels, png, press, saved, served, somebody, visit
from painted import CAR, SKY

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]

# What the photograph pane shows, pixel by pixel at the photograph's own size; null while it is not exact.
SEEN = """() => {
    const { keeping, pictures } = gesso;
    if (!["unchanged", "kept"].includes(keeping.state) || pictures.length !== 1 || !keeping.before) return null;
    const { width, height } = pictures[0];
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(pictures[0], 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    let text = "";
    for (let at = 0; at < data.length; at += 2 ** 13) text += String.fromCharCode(...data.subarray(at, at + 2 ** 13));
    return [height, width, btoa(text)];
}"""
PATIENT = 60_000  # ms: other work may run on the machine
LARGEST = f"""gesso.document.objects.filter((one) => one.class === {CAR})
    .sort((one, other) => other.mask.bits.length - one.mask.bits.length)[0]"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(load(shipped_model(), device="cpu"), segmenter=Knows(street())) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """The street, opened as a JPEG."""
    with somebody(chromium) as context:
        yield opened(context, address)


def opened(context: BrowserContext, address: str) -> Page:
    page = visit(context, address)
    page.set_default_timeout(PATIENT)
    offer(page, "Photograph", "street.jpg", jpeg(street().image))
    page.wait_for_function("() => gesso.document.original")
    return page


def original() -> Bytes:
    """The photograph's pixels."""
    with Image.open(io.BytesIO(jpeg(street().image))) as image:
        return np.array(image)


def seen(page: Page) -> Bytes:
    height, width, values = page.wait_for_function(SEEN).json_value()
    return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[..., :3]


def remove_car(page: Page) -> Any:
    """Delete the largest car; where it was, at the photograph's size."""
    x, y, width, height, bits = page.evaluate(
        f"(({{ mask }}) => [mask.x, mask.y, mask.width, mask.height, [...mask.bits]])({LARGEST})"
    )
    page.evaluate(f"gesso.select([{LARGEST}.key])")
    page.locator("#layout-pane").focus()
    page.keyboard.press("Delete")
    cells = np.zeros(LAYOUT, dtype=bool)
    cells[y : y + height, x : x + width] = np.array(bits).reshape(height, width)
    return cells.repeat(2, 0).repeat(2, 1)


def beyond(cells: Any) -> Any:
    """Farther from some pixels than the margin."""
    return ndimage.distance_transform_edt(~cells) > round(0.06 * SIZE[0]) + 1


def changed(picture: Bytes, where: Any) -> float:
    """Share of some pixels that are not the photograph's own."""
    return float((picture != original())[where].any(-1).mean())


def test_a_car_is_removed_from_a_photograph_and_nothing_else(page: Page, tmp_path: Path) -> None:
    caption = page.locator("#photo-pane .caption")
    expect(caption).to_have_text("Your photograph", timeout=PATIENT)
    assert (seen(page) == original()).all()
    model_picture = look(page)
    car = remove_car(page)
    expect(caption).to_have_text("Your photograph with your changes", timeout=PATIENT)
    picture = seen(page)
    assert picture.shape == (*SIZE, 3)
    assert changed(picture, beyond(car)) == 0
    assert changed(picture, car) > 0.9

    content = saved(page, "Photograph")
    expect(page.locator(".toast", has_text="street-retouched.png")).to_contain_text("made anew", timeout=PATIENT)
    assert (pixels(content) == picture).all(), "what is seen is what is saved"
    (tmp_path / "saved.png").write_bytes(content)
    record = read_record(tmp_path / "saved.png")
    assert record is not None
    assert record["retouched"]["size"] == list(LAYOUT)

    press(page, "Whole picture rendered")
    expect(caption).to_have_text("Whole picture rendered", timeout=PATIENT)
    whole = pixels(saved(page, "Photograph"))
    assert whole.shape == (*LAYOUT, 3)
    assert (whole == look(page)).all()
    assert (whole != model_picture).any()
    assert page.evaluate("gesso.pictures[0] === gesso.picture.bitmap")
    press(page, "Keep my photograph")
    assert (seen(page) == picture).all()

    page.keyboard.press("Control+z")
    expect(caption).to_have_text("Your photograph", timeout=PATIENT)
    assert (seen(page) == original()).all()
    assert (pixels(saved(page, "Photograph")) == original()).all()
    page.keyboard.press("Control+Shift+Z")
    expect(caption).to_have_text("Your photograph with your changes", timeout=PATIENT)
    assert (seen(page) == picture).all()


def test_the_wipe_compares_with_the_photograph_as_it_was(page: Page) -> None:
    seen(page)
    remove_car(page)
    seen(page)
    page.get_by_role("button", name="Before and after").click()
    expect(page.locator("#layout-pane .caption").first).to_have_text("Your photograph as it was")
    expect(page.locator("#layout-pane .caption.end")).to_have_text("Your photograph with your changes", timeout=PATIENT)
    shown = """(right) => {
        const { view, keeping } = gesso;
        view.divider.move(right ? 0 : 1);
        view.draw();
        const { canvas } = view.layout.base;
        const [context, { viewport, layout }] = [new OffscreenCanvas(canvas.width, canvas.height).getContext("2d"), view];
        const drawn = layout.base.getImageData(0, 0, canvas.width, canvas.height).data;
        layout.begin(layout.base, viewport);
        layout.draw(right ? gesso.pictures[0] : keeping.before, viewport, { smooth: true });
        const expected = layout.base.getImageData(0, 0, canvas.width, canvas.height).data;
        return drawn.every((value, place) => Math.abs(value - expected[place]) <= 1);
    }"""
    assert page.evaluate(shown, False)
    assert page.evaluate(shown, True)


def test_while_somebody_paints_the_rest_is_the_photograph(page: Page) -> None:
    seen(page)
    page.evaluate("gesso.keeping.app.on('kept', () => (window.states ??= []).push(gesso.keeping.state))")
    page.evaluate(
        """async () => {
            const { paint } = await import("/model/edits.js");
            const mask = { x: 100, y: 100, width: 40, height: 20, bits: new Uint8Array(800).fill(1) };
            gesso.preview(paint(gesso.document, mask, 4).document);
        }"""
    )
    page.wait_for_function("() => gesso.picture?.document === gesso.shown && gesso.pictures.length === 2")
    outside, inside = page.evaluate(
        """() => {
            const [photograph, rough] = gesso.pictures;
            const alpha = rough.getContext("2d").getImageData(0, 0, rough.width, rough.height).data;
            const at = (x, y) => alpha[4 * (y * rough.width + x) + 3];
            return [photograph === gesso.keeping.before && at(99, 110) + at(140, 110) + at(120, 99), at(100, 100) + at(139, 119)];
        }"""
    )
    assert (outside, inside) == (0, 510)
    page.evaluate("gesso.preview(null)")
    assert (seen(page) == original()).all()


def test_an_edit_of_everything_is_said_and_loses_nothing(page: Page) -> None:
    seen(page)
    page.evaluate(
        f"""async () => {{
            const {{ emptyDocument }} = await import("/model/document.js");
            const [name, own] = ["All sky", gesso.document];
            const sky = emptyDocument(own.width, own.height, own.classes, {SKY});
            const ground = {{ ...sky.ground, instance: sky.ground.instance.map(() => 777) }};
            gesso.apply(name, (document) => ({{ ...document, ground, objects: [] }}));
        }}"""
    )
    expect(page.locator(".toast", has_text="Every pixel was changed")).to_be_visible(timeout=PATIENT)
    expect(page.locator("#photo-pane .caption")).to_have_text("Whole picture rendered", timeout=PATIENT)
    assert page.evaluate("gesso.pictures[0] === gesso.picture.bitmap")
    assert (pixels(png(look(page))) == look(page)).all()
    page.keyboard.press("Control+z")
    assert (seen(page) == original()).all()


def test_a_layout_that_was_misread_is_mended_without_a_change(page: Page) -> None:
    seen(page)
    car = remove_car(page)
    assert changed(seen(page), car) > 0.9
    press(page, "The layout is right")
    expect(page.locator("#photo-pane .caption")).to_have_text("Your photograph", timeout=PATIENT)
    assert (seen(page) == original()).all()
    page.keyboard.press("Control+z")
    assert changed(seen(page), car) > 0.9


def test_it_comes_back_with_projects_drafts_and_servers(chromium: Browser) -> None:
    model = load(shipped_model(), device="cpu")
    with somebody(chromium) as context:
        with served(model, segmenter=Knows(street())) as address:
            page = opened(context, address)
            seen(page)
            car = remove_car(page)
            picture, content = seen(page), saved(page, "Photograph")
            project = saved(page, "Project")
            names = zipfile.ZipFile(io.BytesIO(project)).namelist()
            assert {"opened.json", "source.jpg", "document.json"} <= set(names)
            assert zipfile.ZipFile(io.BytesIO(project)).read("source.jpg") == jpeg(street().image)
            page.wait_for_timeout(600)  # the draft is written
            port = int(address.rsplit(":", 1)[1])
        page.wait_for_function("() => document.querySelector('.toast') !== null")
        with served(model, port) as address:  # another, which knows nothing, and has no segmenter
            page.evaluate("gesso.keeping.widen(0.02)")
            page.wait_for_function("() => gesso.keeping.state === 'kept' && gesso.keeping.composed.margin === 0.02")
            assert changed(seen(page), beyond(car)) == 0
            page.reload()
            page.wait_for_selector("html[data-ready]")
            page.locator(".card.draft").first.click()
            page.wait_for_function("() => !gesso.empty")
            assert (seen(page) == picture).all()
            assert saved(page, "Photograph") == content
        with somebody(chromium) as another, served(model) as address:
            page = visit(another, address)
            page.set_default_timeout(PATIENT)
            offer(page, "Project", "project.zip", project)
            page.wait_for_function("() => !gesso.empty")
            assert (seen(page) == picture).all()
            assert saved(page, "Photograph") == content
            again = zipfile.ZipFile(io.BytesIO(saved(page, "Project")))
            assert json.loads(again.read("opened.json")) == json.loads(
                zipfile.ZipFile(io.BytesIO(project)).read("opened.json")
            )
            page.close()
        page = context.pages[0]
        page.close()


def test_transparent_photographs_open_without_being_kept(chromium: Browser, address: str) -> None:
    clear = np.dstack([street().image, np.full(SIZE, 255, np.uint8)])
    clear[:9, :9, 3] = 0
    with somebody(chromium) as context:
        page = visit(context, address)
        page.set_default_timeout(PATIENT)
        offer(page, "Photograph", "clear.png", png(clear))
        expect(page.locator(".toast", has_text="transparent in places")).to_be_visible(timeout=PATIENT)
        expect(page.locator("#keeping")).to_be_hidden()
        assert look(page).shape == (*LAYOUT, 3)
        assert page.evaluate("[gesso.document.objects.length > 5, gesso.document.original]") == [True, None]


def test_a_photograph_that_the_server_lost_is_sent_again(
    page: Page, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(page)
    car = remove_car(page)
    assert changed(seen(page), car) > 0.9
    monkeypatch.setattr(retouching.Shelf, "get", forgetful(retouching.Shelf.get))
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+Z")
    page.evaluate("gesso.keeping.widen(0.05)")
    page.wait_for_function("() => gesso.keeping.state === 'kept' && gesso.keeping.composed.margin === 0.05")
    again = seen(page)
    assert changed(again, beyond(car)) == 0
    assert changed(again, car) > 0.9


def forgetful(get: Any) -> Any:
    """A way to get things that finds nothing the first time."""
    asked: list[str] = []

    def found(shelf: Any, name: str) -> Any:
        asked.append(name)
        return None if len(asked) == 1 else get(shelf, name)

    return found
