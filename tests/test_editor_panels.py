"""The editor's panels in Chromium: styles, objects, the history strip, the help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, expect
from torch import Tensor

from gesso.checkpoints import load_model
from gesso.data import layouts
from gesso.evaluate.faithfulness import faithfulness
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import Synthesizer, load
from paged import (
    IS_LEFT,
    IS_RIGHT,
    is_worn,
    launched,
    look,
    png,
    press,
    row,
    served,
    somebody,
    start,
    visit,
    wait_until,
)
from styled import (
    CAR,
    CAR_MODES,
    LEFT,
    PERSON,
    RIGHT,
    ROAD,
    SPACE,
    clusters,
    mirrored,
    photograph,
    scene,
    write_scenes,
    write_styled_model,
)
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with somebody(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> layouts.Listing:
    return layouts.find(write_scenes(tmp_path_factory.mktemp("data") / "scenes"), "val")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_styled_model(tmp_path_factory.mktemp("model") / "model.safetensors", styles=clusters())


@pytest.fixture(scope="module")
def address(model_file: Path, listing: layouts.Listing) -> Iterator[str]:
    """The editor with the model that shows what is worn."""
    with served(Synthesizer(mirrored(load_model(model_file))), listing=listing) as found:
        yield found


# -------------------------------------------------------------------------------------------------------------- styles


def test_a_mode_that_is_picked_is_worn_copied_and_pinned(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    first = look(page)
    row(page, f"car {LEFT}").click()
    tiles = page.locator(".strip .thumb")
    expect(tiles).to_have_count(1 + len(CAR_MODES))
    expect(page.locator(".strip .thumb.waiting")).to_have_count(0)
    assert all(page.evaluate("() => [...document.querySelectorAll('.strip img')].map(i => i.naturalWidth > 4)"))
    tiles.nth(3).click()
    photo = wait_until(page, lambda photo: is_worn(photo, IS_LEFT, CAR_MODES[2]))
    expect(tiles.nth(3)).to_have_attribute("aria-pressed", "true")
    assert (photo[IS_RIGHT] == first[IS_RIGHT]).all(), "nothing else was dressed"
    press(page, "To every car")
    wait_until(page, lambda photo: is_worn(photo, IS_RIGHT, CAR_MODES[2]))
    press(page, "Pin")
    expect(page.get_by_role("button", name="Pin", exact=True)).to_have_attribute("aria-pressed", "true")
    seed = page.evaluate("() => window.gesso.document.styles.seed")
    press(page, "Randomise all")
    photo = look(page)
    assert page.evaluate("() => window.gesso.document.styles.seed") != seed
    assert is_worn(photo, IS_LEFT, CAR_MODES[2])
    assert page.evaluate("() => window.gesso.document.objects.filter(o => o.style !== null).length") == 1
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert (look(page) == first).all()


def test_a_class_wears_a_mode_when_nothing_is_selected(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    page.locator("#styles").get_by_label("All of").select_option(label="road")
    page.locator(".strip .thumb").nth(2).click()
    photo = wait_until(page, lambda photo: is_worn(photo, np.s_[28:30, :], (-0.5, -0.5, -0.5)))
    assert not is_worn(photo, np.s_[:8, :], (-0.5, -0.5, -0.5))
    page.locator("#styles").get_by_label("All of").select_option(label="car")
    page.locator(".strip .thumb").nth(1).click()
    wait_until(page, lambda photo: is_worn(photo, IS_LEFT, CAR_MODES[0]) and is_worn(photo, IS_RIGHT, CAR_MODES[0]))


def test_styles_of_the_photograph_that_was_opened(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    before = look(page)
    press(page, "As in the photograph")
    photo = wait_until(page, lambda photo: (photo[IS_LEFT] != before[IS_LEFT]).any())
    assert (photo[IS_LEFT] == photo[16, 6]).all(), "one vector per object"
    row(page, f"car {LEFT}").click()
    expect(page.locator("#styles")).to_contain_text("a style of its own")


def test_one_style_for_the_whole_picture(tmp_path: Path, context: BrowserContext, listing: layouts.Listing) -> None:
    with served(load(write_spade_model(tmp_path / "m.safetensors"), "cpu"), listing=listing) as address:
        page = start(context, address)
        first = look(page)
        page.get_by_label("Seeds").fill("17")
        wait_until(page, lambda photo: (photo != first).any())
        seventeen = look(page)
        press(page, "A: take the present style")
        with page.expect_file_chooser() as found:
            press(page, "Style image …")
        found.value.set_files({"name": "mood.png", "mimeType": "image/png", "buffer": png(photograph())})
        mood = wait_until(page, lambda photo: (photo != seventeen).any())
        press(page, "B: take the present style")
        mix = page.get_by_label("Between style A and style B")
        expect(mix).to_be_enabled()
        mix.fill("0")
        wait_until(page, lambda photo: (photo == seventeen).all())
        mix.fill("1")
        wait_until(page, lambda photo: (photo == mood).all())
        mix.fill("0.4")
        wait_until(page, lambda photo: (photo != mood).any() and (photo != seventeen).any())


def test_chance_alone_and_no_style_at_all(tmp_path: Path, context: BrowserContext, tiny_model: Path) -> None:
    with served(load(write_pix2pix_model(tmp_path / "m.safetensors"), "cpu")) as address:
        page = start(context, address, "toy scene 2")
        first = look(page)
        page.get_by_label("Seed", exact=True).fill("5")
        page.keyboard.press("Enter")
        noisy = wait_until(page, lambda photo: (photo != first).any())
        page.get_by_label("Noise, as in training").uncheck()
        wait_until(page, lambda photo: (photo != noisy).any())
    with served(load(tiny_model, "cpu")) as address:
        page = visit(context, address)
        expect(page.locator("#styles")).to_contain_text("has no styles")


# ------------------------------------------------------------------------------------------------------------- objects


def test_relabel_move_scale_duplicate_and_delete(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    first = look(page)
    tops = "() => window.gesso.selected.map(o => [o.class, o.mask.x, o.mask.y, o.mask.width, o.mask.height])"
    row(page, f"car {RIGHT}").click()
    expect(row(page, f"car {RIGHT}")).to_contain_text("240 px")
    assert page.evaluate(tops) == [[CAR, 20, 16, 24, 10]]
    page.locator(".object-tools").get_by_label("Material").select_option(label="person")
    look(page)
    assert page.evaluate(tops) == [[PERSON, 20, 16, 24, 10]]
    page.locator("#layout-pane").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert page.evaluate(tops) == [[PERSON, 23, 6, 24, 10]]
    look(page)
    page.get_by_label("Scale the selected objects").fill("-1")
    assert page.evaluate(tops)[0][3:] == [12, 5]
    press(page, "Duplicate (Ctrl+D)")
    assert page.evaluate("() => window.gesso.document.objects.length") == 4
    press(page, "Delete (Del)")
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    photo = look(page)
    assert (photo[IS_LEFT] == photo[27, 10]).all(), "road closes the hole"
    for _ in range(9):
        page.keyboard.press("Control+z")
    assert (look(page) == first).all()
    assert page.locator(".notes .toast.error").all_inner_texts() == []


def test_locked_objects_stay_and_hidden_ones_are_not_rendered(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    request = page.evaluate("() => window.gesso.picture.request")
    press(page, f"Lock car {LEFT}")
    look(page)
    assert page.evaluate("() => window.gesso.picture.request") == request, "a lock changes no photograph"
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    expect(page.get_by_role("alert").filter(has_text="locked")).to_be_visible()
    press(page, f"Unlock car {LEFT}")
    before = look(page)
    press(page, f"Hide car {LEFT}")
    expect(row(page, f"car {LEFT}")).to_contain_text("hidden")
    photo = look(page)
    assert (photo[IS_LEFT] == photo[27, 10]).all()
    press(page, f"Show car {LEFT}")
    assert (look(page) == before).all()


def test_several_objects_merge_and_one_splits(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    row(page, f"car {LEFT}").click()
    row(page, "person 7").click(modifiers=["Control"])
    press(page, "Merge into one object")
    expect(page.locator(".objects li")).to_have_count(2)
    press(page, "Split into its separate parts")
    expect(page.locator(".objects li")).to_have_count(3)
    expect(page.locator(".object-name[aria-pressed=true]")).to_have_count(2)


def test_an_object_of_the_library_is_set_down(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    press(page, "Add …")
    page.locator(".library .thumb").first.click()
    box = page.locator("#layout-pane").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.8 * box["height"])
    page.mouse.down()
    page.mouse.up()
    expect(page.locator(".objects li")).to_have_count(4)
    expect(page.locator(".asking")).to_have_count(0)
    assert page.evaluate("() => window.gesso.selected.length") == 1


# ----------------------------------------------------------------------------------------- faithfulness and times


class Nearsighted(PhotoSegmenter):
    """Finds the road, wherever it looks."""

    def __init__(self) -> None:
        super().__init__("a test", "road everywhere", SPACE, "0" * 64)

    def _read(self, pixels: Tensor) -> Tensor:
        return torch.full(pixels.shape[1:], ROAD)


def test_where_a_segmenter_disagrees_is_laid_over_the_photograph(
    context: BrowserContext, model_file: Path, listing: layouts.Listing
) -> None:
    options = {"segmenter": Nearsighted(), "faithfulness": faithfulness, "listing": listing}
    with served(load(model_file, "cpu"), **options) as address:
        page = start(context, address)
        look(page)
        page.evaluate("() => { window.gesso.view.overlay = (bitmap) => { window.laid = bitmap; }; }")
        page.keyboard.press("f")
        page.locator("#faithfulness .total").click()
        right = (scene()[0] == ROAD).sum() / (scene()[0] < len(SPACE)).sum()
        expect(page.locator("#faithfulness .total")).to_have_text(f"{round(100 * right)} %")
        rows = {row.split("\t")[0]: row.split("\t")[1] for row in page.locator(".faithful tbody tr").all_inner_texts()}
        assert rows["road"] == "100 %"
        assert rows["car"] == "0 %"
        painted = page.evaluate(
            "() => [...window.laid.getContext('2d').getImageData(0, 0, 64, 32).data].filter((v, n) => n % 4 === 3)"
        )
        wrong = np.array(painted).reshape(32, 64) > 0
        assert (wrong == ((scene()[0] != ROAD) & (scene()[0] < len(SPACE)))).all()
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        expect(page.locator("#faithfulness .total")).to_be_hidden()
        assert page.evaluate("() => window.laid") is None


def test_times_are_shown_on_demand(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    box = page.get_by_role("region", name="Times")
    expect(box).to_be_hidden()
    page.keyboard.press("t")
    expect(box).to_be_visible()
    row(page, f"car {LEFT}").click()
    for _ in range(3):
        press(page, "Move right (Shift: by 10)")
        look(page)
    page.wait_for_function("() => document.querySelector('#latency').times.length >= 4")
    parts = page.evaluate("() => document.querySelector('#latency').times.at(-1)")
    assert set(parts) == {"prepare", "network", "wait", "decode", "model", "encode", "paint", "total"}
    assert all(value >= 0 for value in parts.values()), parts
    assert sum(value for part, value in parts.items() if part != "total") <= parts["total"] + 5, parts
    expect(box).to_contain_text("Model")


# --------------------------------------------------------------------------------------------------- history and help


def test_an_earlier_photograph_is_returned_to(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    first = look(page)
    expect(page.locator(".history li")).to_have_count(1)
    row(page, f"car {LEFT}").click()
    press(page, "Delete (Del)")
    expect(page.locator(".history li")).to_have_count(2)
    press(page, "Return to photograph 1")
    assert (look(page) == first).all()
    expect(page.locator(".history li").first).to_have_attribute("data-current", "")
    page.keyboard.press("Control+z")
    expect(page.locator(".objects li")).to_have_count(2)


def test_every_key_is_in_the_help(context: BrowserContext, address: str) -> None:
    page = visit(context, address)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    shown = dialog.locator("dd").all_inner_texts()
    table = page.evaluate("async () => (await import('/tools/keys.js')).KEYS.map(({ what }) => what)")
    assert len(table) > 30
    assert sorted(shown) == sorted(table)
    assert all(text.strip() for text in dialog.locator("kbd").all_inner_texts())
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
