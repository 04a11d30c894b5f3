"""The editor with the model that ships, in Chromium: do edits change the photograph where they were made, and come back?"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser
from scipy import ndimage

from gesso.demo_model import shipped_model
from gesso.synthesis.synthesizer import load
from paged import Pixels, look, offer, saved, served, somebody, start, visit
from painted import CAR, GRASS, ROAD, SKY, Canvas

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]
FAR = 32  # pixels from an edit, beyond which next to nothing changes
STRANGE = 8  # of 255: how much at most, in the mean


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(load(shipped_model(), device="cpu")) as found:
        yield found


@pytest.fixture
def canvas(chromium: Browser, address: str) -> Iterator[Canvas]:
    """A toy scene, and its photograph."""
    with somebody(chromium) as context:
        yield Canvas(start(context, address, "toy scene 1"))


def changed(before: Pixels, after: Pixels, where: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Mean difference in the pixels that were edited, and far from them, of 255."""
    difference = np.abs(after.astype(float) - before).mean(axis=-1)
    return float(difference[where].mean()), float(difference[ndimage.distance_transform_edt(~where) > FAR].mean())


def test_a_painted_car_changes_the_photograph_there(canvas: Canvas) -> None:
    before, label = look(canvas.page), canvas.label
    canvas.hold("ellipse", CAR, newObject=True)
    canvas.drag((100, 84), (150, 112))
    after, where = look(canvas.page), canvas.label != label
    assert (canvas.label[where] == CAR).all()
    assert where.sum() > 500
    inside, outside = changed(before, after, where)
    assert inside > 3 * outside
    assert outside < STRANGE


def test_relabelled_moved_deleted_and_twenty_times_undone(canvas: Canvas) -> None:
    page, first = canvas.page, look(canvas.page)
    label = canvas.label
    page.evaluate("gesso.select([])")
    steps = page.evaluate("gesso.history.length")
    for number in range(17):
        canvas.hold("brush", (ROAD, GRASS, CAR)[number % 3], size=10, newObject=True)
        canvas.drag((20 + 12 * number, 90), (30 + 12 * number, 100))
    page.evaluate("gesso.select([gesso.document.objects.at(-1).key])")
    page.keyboard.press("Shift+ArrowUp")
    page.locator(".object-tools").get_by_label("Material").select_option(label="person")
    page.keyboard.press("Delete")
    edited = look(page)
    assert (edited != first).any()
    assert page.evaluate("gesso.history.length") == steps + 20
    for _ in range(20):
        page.keyboard.press("Control+z")
    assert np.array_equal(canvas.label, label)
    assert np.array_equal(look(page), first)


def test_another_style_changes_the_hue_of_a_car(canvas: Canvas) -> None:
    page = canvas.page
    canvas.hold("ellipse", CAR, newObject=True)
    canvas.drag((60, 70), (130, 115))
    where = ndimage.binary_erosion(canvas.label == CAR, iterations=4)
    hues = []
    for mode in (1, 2, 3, 4):
        page.locator(".strip .thumb").nth(mode - 1).click()
        hues.append(colorsys.rgb_to_hsv(*(look(page)[where].mean(axis=0) / 255))[0])
    between = [min(abs(a - b), 1 - abs(a - b)) for a in hues for b in hues]
    assert max(between) > 0.1


def test_a_saved_project_reopens_to_the_same_bytes(canvas: Canvas, chromium: Browser, address: str) -> None:
    canvas.hold("rectangle", SKY)
    canvas.drag((10, 10), (60, 60))
    canvas.hold("ellipse", CAR, newObject=True)
    canvas.drag((100, 84), (150, 112))
    photograph = saved(canvas.page, "Photograph")
    look(canvas.page)
    project = saved(canvas.page, "Project")
    with somebody(chromium) as another:
        page = visit(another, address)
        offer(page, "Project", "project.zip", project)
        look(page)
        assert saved(page, "Photograph") == photograph
