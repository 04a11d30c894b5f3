"""Files in the editor's page: what is opened, what is refused, what is saved, and that it opens again."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gesso.checkpoints import load_model
from gesso.editor import archive, projects
from gesso.editor.examples import Example, Loaded
from gesso.editor.security import Limits
from gesso.errors import DataError
from gesso.labels import colourise
from gesso.synthesis.synthesizer import Synthesizer
from paged import (
    look,
    offer,
    pixels,
    png,
    press,
    row,
    saved,
    served,
    start,
    visit,
)
from served import jpeg_of
from styled import (
    LEFT,
    RIGHT,
    SPACE,
    mirrored,
    photograph,
    scene,
)

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]


def test_a_project_opens_again_with_equal_bytes(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    row(page, f"car {RIGHT}").click()
    page.locator(".strip .thumb").nth(4).click()
    page.locator(".object-tools").get_by_label("Material").select_option(label="person")
    press(page, f"Hide car {LEFT}")
    press(page, "Randomise all")
    look(page)
    before, project = saved(page, "Photograph"), saved(page, "Project")
    assert "document.json" in zipfile.ZipFile(io.BytesIO(project)).namelist()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    offer(page, "Project", "painted.zip", project)
    expect(row(page, f"car {LEFT}")).to_contain_text("hidden")
    look(page)
    assert saved(page, "Photograph") == before
    again = zipfile.ZipFile(io.BytesIO(saved(page, "Project")))
    assert again.read("document.json") == zipfile.ZipFile(io.BytesIO(project)).read("document.json")


def entries(project: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(project)) as found:
        return {name: found.read(name) for name in found.namelist()}


def test_a_project_brings_back_the_photograph_that_the_layout_came_with(context: BrowserContext, address: str) -> None:
    worn = "() => gesso.document.objects.map(({ style }) => style)"
    page = start(context, address)
    dress = page.get_by_role("button", name="As in the photograph")
    dress.click()
    page.wait_for_function("() => gesso.document.objects[0].style !== null")
    expected = page.evaluate(worn)
    page.keyboard.press("Control+z")
    look(page)
    project = saved(page, "Project")
    came_with = entries(project)["source.png"]
    assert (pixels(came_with) == photograph(RIGHT)).all()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    offer(page, "Project", "painted.zip", project)
    dress.click()
    page.wait_for_function("() => gesso.document.objects[0].style !== null")
    assert page.evaluate(worn) == expected
    assert entries(saved(page, "Project"))["source.png"] == came_with
    without = {name: content for name, content in entries(project).items() if name != "source.png"}
    jpeg = jpeg_of(photograph(RIGHT))
    offer(page, "Project", "jpeg.zip", archive.pack({**without, "source.jpg": jpeg}))
    page.wait_for_function("() => gesso.document.source?.type === 'image/jpeg'")
    expect(dress).to_be_visible()
    assert entries(saved(page, "Project"))["source.jpg"] == jpeg
    offer(page, "Project", "old.zip", archive.pack(without))
    expect(dress).to_be_hidden()


def large() -> Loaded:
    """A scene of 128 x 256 whose photographs take some 90,000 bytes each."""
    label, instance = (one.repeat(4, 0).repeat(4, 1).astype(np.int32) for one in scene())
    return Loaded(label, instance, np.random.default_rng(0).integers(0, 256, (128, 256, 3), dtype=np.uint8))


def saved_within(context: BrowserContext, model: Path, most: int) -> tuple[str, bytes]:
    """What is said of a project that is saved where requests may have so many bytes; and the project."""
    synthesizer, examples = Synthesizer(mirrored(load_model(model))), [Example("large", large)]
    with served(synthesizer, examples=examples, limits=Limits(bytes=most)) as address:
        page = start(context, address, "large")
        look(page)
        page.wait_for_function("async () => (await import('/net/live.js')).liveOf(gesso).settled")
        project = saved(page, "Project")
        said = page.locator(".toast .text", has_text="Saved as large.zip").inner_text()
        page.reload()
        page.wait_for_selector("html[data-ready]")
        offer(page, "Project", "again.zip", project)
        expect(page.locator(".toast", has_text="made with this model")).to_be_visible()
        page.close()
        return said, project


MAPS = {"label.png", "instance.png", "colours.png"}


def test_what_is_left_out_of_a_project_is_said(context: BrowserContext, model_file: Path) -> None:
    said, project = saved_within(context, model_file, 2**19)
    assert said == "Saved as large.zip."
    whole = entries(project).keys()
    assert whole > {*MAPS, "photograph.png", "source.png"}
    most = len(project) + projects.ENVELOPE - 1
    said, project = saved_within(context, model_file, most)
    assert said == (
        "Saved as large.zip, without the maps for other programs. With all of it the project would be larger than the "
        f"{most / 2**20:.3g} MiB up to which it opens again; the layout, its objects and styles are complete."
    )
    assert entries(project).keys() == whole - MAPS


@pytest.mark.parametrize(
    ("most", "missing"), [(150_000, {"photograph.png"}), (60_000, {"photograph.png", "source.png"})]
)
def test_what_cannot_even_be_sent_is_left_out_and_said(
    context: BrowserContext, model_file: Path, most: int, missing: set[str]
) -> None:
    said, project = saved_within(context, model_file, most)
    assert not missing & entries(project).keys()
    assert MAPS < entries(project).keys()
    assert "without the photograph, which the editor makes again" in said
    assert ("that the layout came with" in said) is ("source.png" in missing)
    assert "maps" not in said


def test_an_example_that_cannot_be_read_says_why(context: BrowserContext, model_file: Path) -> None:
    def fail() -> Loaded:
        raise DataError("broken.png is cut off: use another copy.")

    examples = [Example("broken", fail), Example("whole", large)]
    with served(Synthesizer(mirrored(load_model(model_file))), examples=examples) as address:
        page = visit(context, address)
        card = page.locator(".card", has_text="broken")
        expect(card).to_be_disabled()
        expect(card).to_contain_text("broken.png is cut off: use another copy.")
        expect(card.locator("img")).to_have_count(0)
        card.click(force=True)
        assert page.evaluate("gesso.empty")
        page.locator(".card", has_text="whole").click()
        expect(page.locator(".objects li")).to_have_count(3)
        page.close()


def test_maps_are_saved_as_they_are_meant(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    label, instance = scene()
    assert (pixels(saved(page, "Label map")) == SPACE.to_values(label)).all()
    assert (pixels(saved(page, "Colour map"))[..., :3] == colourise(label, SPACE)).all()
    ids = pixels(saved(page, "Instance map"))
    things = np.isin(label, SPACE.things)
    assert (ids[things] == instance[things]).all()
    assert len(np.unique(ids)) == len(np.unique(instance))


def test_maps_and_photographs_open(context: BrowserContext, address: str) -> None:
    page = start(context, address, "two")
    label, instance = scene()
    offer(page, "Label map", "street.png", png(colourise(label, SPACE)))
    expect(
        page.locator(".toast", has_text="street.png").or_(page.locator(".toast", has_text="colours"))
    ).to_be_visible()
    assert page.evaluate("() => window.gesso.document.objects.length") == 2, "cars that touch are one"
    offer(page, "Instance map", "ids.png", png(instance.astype(np.uint16)))
    page.wait_for_function("() => window.gesso.document.objects.length === 3")
    offer(page, "Photograph", "one.png", png(photograph(RIGHT)))
    expect(row(page, f"car {RIGHT}")).to_be_visible()
    offer(page, "Photograph", "unknown.png", png(photograph(3)))
    expect(page.get_by_role("alert").filter(has_text="--segmenter")).to_be_visible()
    expect(row(page, f"car {RIGHT}")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Control+z")
    expect(row(page, "car 99")).to_be_visible()


def test_hostile_files_say_one_thing_and_leave_the_painting(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    page.evaluate("() => { window.before = window.gesso.document; }")
    cut = png(SPACE.to_values(scene()[0]).astype(np.uint8))[:-30]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("document.json", bytes(2**27))
    huge = png(np.zeros((1, 30_000), dtype=np.uint8))
    hostile = [
        ("Label map", "cut.png", cut),
        ("Label map", "huge.png", huge),
        ("Photograph", "script.png", b"<svg onload=alert(1)>"),
        ("Project", "bomb.zip", bomb.getvalue()),
        ("Instance map", "small.png", png(np.zeros((3, 3), dtype=np.uint8))),
    ]
    for item, name, content in hostile:
        offer(page, item, name, content)
        toast = page.locator(".notes .toast.error")
        expect(toast).to_have_count(1)
        assert 20 < len(toast.locator(".text").inner_text()) < 600
        toast.get_by_role("button", name="Close this message").click()
        expect(toast).to_have_count(0)
        assert page.evaluate("() => window.before === window.gesso.document")


def test_a_map_in_other_colours_opens_with_the_nearest_where_that_is_wanted(
    context: BrowserContext, address: str
) -> None:
    page = start(context, address, "two")
    offer(page, "Label map", "dim.png", png(colourise(scene()[0], SPACE) // 2 + 60))
    toast = page.get_by_role("alert").filter(has_text="nearest")
    expect(toast).to_be_visible()
    assert "nearest=true" not in toast.inner_text()
    expect(row(page, "car 99")).to_be_visible()
    press(page, "Take the nearest")
    expect(row(page, "car 99")).to_have_count(0)


def test_a_dropped_file_is_opened(context: BrowserContext, address: str) -> None:
    page = visit(context, address)
    drop(page, png(SPACE.to_values(scene()[0]).astype(np.uint8)))
    expect(page.locator(".objects li")).to_have_count(2)
    expect(page.locator(".drop-anywhere")).to_be_hidden()
    drop(page, png(colourise(scene()[0], SPACE)))
    expect(
        page.locator(".toast", has_text="dropped.png").or_(page.locator(".toast", has_text="colours"))
    ).to_be_visible()


def drop(page: Page, content: bytes) -> None:
    page.evaluate(
        """values => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(values)], "dropped.png", { type: "image/png" }));
            const options = { dataTransfer: data, bubbles: true, cancelable: true };
            for (const kind of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, options));
        }""",
        [int(value) for value in content],
    )


def claiming(width: int, height: int) -> bytes:
    """A PNG in true colours that says to be so large, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(64)), b"IEND"]
    parts = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_dropped_file_that_says_to_be_huge_is_not_decoded(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    page.evaluate(
        """() => {
            const decode = window.createImageBitmap;
            window.decoded = 0;
            window.createImageBitmap = (...given) => {
                if (given[0] instanceof File) window.decoded += 1;
                return decode(...given);
            };
        }"""
    )
    errors = page.locator(".notes .toast.error .text")
    drop(page, claiming(30_000, 30_000))
    expect(errors).to_have_count(1)
    assert "far too many pixels" in errors.inner_text()
    page.get_by_role("alert").get_by_role("button", name="Close this message").click()
    drop(page, claiming(0, 0)[:30])
    expect(errors).to_have_count(1)
    assert page.evaluate("() => window.decoded") == 0
    expect(row(page, f"car {RIGHT}")).to_be_visible()
