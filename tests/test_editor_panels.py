"""The editor's panels in Chromium: styles, objects, the history strip, the help."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import BrowserContext, Page, Route, expect
from torch import Tensor

from gesso.data import layouts
from gesso.evaluate.faithfulness import faithfulness
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.synthesizer import load
from paged import (
    IS_LEFT,
    IS_RIGHT,
    UNDRESS,
    is_worn,
    look,
    offer,
    png,
    press,
    row,
    served,
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
    photograph,
    scene,
)
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]


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


def test_an_example_begins_as_in_its_photograph(context: BrowserContext, address: str) -> None:
    page = start(context, address, dressed=True)
    photo = look(page)
    assert (photo[IS_LEFT] == photo[16, 6]).all()
    worn = page.evaluate("() => gesso.document.objects.map(({ style }) => style)")
    page.evaluate(UNDRESS)
    assert (look(page)[IS_LEFT] != photo[IS_LEFT]).any()
    press(page, "As in the photograph")
    wait_until(page, lambda again: bool((again == photo).all()))
    assert page.evaluate("() => gesso.document.objects.map(({ style }) => style)") == worn


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


def test_a_blend_is_settled_whatever_becomes_of_its_requests(
    tmp_path: Path, context: BrowserContext, listing: layouts.Listing
) -> None:
    with served(load(write_spade_model(tmp_path / "m.safetensors"), "cpu"), listing=listing) as address:
        page = start(context, address)
        for name, seed in (("A", "3"), ("B", "4")):
            page.get_by_label("Seed", exact=True).fill(seed)
            page.keyboard.press("Enter")
            look(page)
            press(page, f"{name}: take the present style")
        mix = page.get_by_label("Between style A and style B")
        expect(mix).to_be_enabled()
        recorded = look(page)
        waiting: list[Route] = []
        page.route("**/api/interpolate", lambda route: waiting.append(route))  # it takes no built-in
        page.evaluate(
            "() => { window.shown = []; gesso.on('preview', () => shown.push(gesso.shown === gesso.document)); }"
        )
        pull(page, "Between style A and style B", 0.2)
        page.wait_for_timeout(100)
        waiting.pop().continue_()
        page.wait_for_function("() => shown.length === 1 && !shown[0]")
        pull(page, "Between style A and style B", 0.3)
        pull(page, "Between style A and style B", 0.4)
        page.wait_for_timeout(300)
        assert page.evaluate("() => shown") == [False], "a request that another one follows ends no preview"
        mix.dispatch_event("change")
        page.wait_for_timeout(100)
        waiting.pop().abort()
        expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
        assert (look(page) == recorded).all()
        assert page.evaluate("() => gesso.shown === gesso.document"), "what was not recorded is not shown"


def pull(page: Page, label: str, value: float) -> None:
    """Move a slider, without letting it go."""
    page.get_by_label(label).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def test_a_slider_that_is_pulled_away_and_back_leaves_no_preview(
    tmp_path: Path, context: BrowserContext, listing: layouts.Listing
) -> None:
    with served(load(write_spade_model(tmp_path / "m.safetensors"), "cpu"), listing=listing) as address:
        page = start(context, address)
        look(page)
        box = page.get_by_label("Seeds").bounding_box()
        assert box
        x, y = box["x"] + 8, box["y"] + box["height"] / 2
        page.mouse.click(x, y)
        page.wait_for_function("() => gesso.shown === gesso.document")
        photo, length = look(page), page.evaluate("() => gesso.history.length")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=4)
        page.wait_for_function("() => gesso.shown !== gesso.document")
        page.mouse.move(x, y, steps=4)
        page.mouse.up()
        page.wait_for_function("() => gesso.shown === gesso.document")
        assert (look(page) == photo).all()
        assert page.evaluate("() => gesso.history.length") == length, "the same seed again is no edit"


def test_choosing_what_is_worn_already_is_no_step_of_undo(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    row(page, f"car {LEFT}").click()
    tile = page.locator(".strip .thumb").nth(2)
    steps = "() => gesso.history.length"
    for expected in (1, 1):
        tile.click()
        expect(tile).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(steps) == expected
    for value in ("9", "10", "10.2"):
        page.get_by_label("Seed", exact=True).fill(value)
        page.keyboard.press("Enter")
    assert page.evaluate(steps) == 3


def test_the_photograph_of_a_layout_follows_undo_return_and_reload(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    dress = page.get_by_role("button", name="As in the photograph")
    first = look(page)
    dress.click()
    dressed = wait_until(page, lambda photo: (photo != first).any())
    page.locator("#layout-pane").focus()
    page.keyboard.press("Control+z")
    offer(page, "Label map", "street.png", png(SPACE.to_values(scene()[0]).astype(np.uint8)))
    expect(dress).to_be_hidden()
    page.keyboard.press("Control+z")
    expect(dress).to_be_visible()
    press(page, "Open")
    page.get_by_role("menuitem", name="Example layout").click()
    page.locator(".card:not(.draft)", has_text="two").click()
    page.wait_for_function("() => gesso.document.objects.some(({ id, style }) => id === 99 && style !== null)")
    look(page)
    press(page, "Return to photograph 1")
    look(page)
    dress.click()
    assert (wait_until(page, lambda photo: (photo != first).any()) == dressed).all(), (
        "its own photograph, not the other's"
    )
    page.reload()
    page.locator(".card.draft").click()
    expect(dress).to_be_visible()


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


def test_scaling_says_what_the_layout_refuses(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    size = "() => gesso.selected[0].mask.width"
    slider = page.get_by_label("Scale the selected objects")
    row(page, f"car {RIGHT}").click()
    for _ in range(3):
        slider.fill("2")
    expect(page.get_by_role("alert").filter(has_text="at most 4 times")).to_have_count(1)
    assert page.evaluate(size) <= 4 * 64
    assert page.evaluate("() => gesso.shown === gesso.document")
    expect(slider).to_have_value("0")
    press(page, f"Lock car {RIGHT}")
    expect(slider).to_be_disabled()
    row(page, f"car {LEFT}").click()
    expect(slider).to_be_enabled()


@pytest.mark.parametrize("by", ["button", "key"])
def test_several_objects_merge_and_one_splits(context: BrowserContext, address: str, by: str) -> None:
    page = start(context, address)
    front = page.evaluate("() => gesso.document.objects.filter(({ id }) => [26001, 7].includes(id)).at(-1).id")
    row(page, f"car {LEFT}").click()
    row(page, "person 7").click(modifiers=["Control"])
    if by == "button":
        press(page, "Merge into one object")
    else:
        page.keyboard.press("m")
    expect(page.locator(".objects li")).to_have_count(2)
    assert page.evaluate("() => gesso.selected.map(({ id }) => id)") == [front], "the frontmost takes in the others"
    press(page, "Split into its separate parts")
    expect(page.locator(".objects li")).to_have_count(3)
    expect(page.locator(".object-name[aria-pressed=true]")).to_have_count(2)


def test_an_object_of_the_library_is_set_down(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    press(page, "Add …")
    page.locator(".library .thumb").first.click()
    box = page.locator("#layout-pane").bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    is_ghost = "seen => (gesso.shown.objects.length === 4) === seen"
    page.evaluate("() => gesso.view.zoomBy(0.25)")  # a margin around the picture, within the pane
    margin, header = (box["x"] + 4, box["y"] + 4), (300, 10)
    for outside in (margin, header):
        page.mouse.move(*middle)
        page.wait_for_function(is_ghost, arg=True)
        page.mouse.move(*outside)
        page.wait_for_function(is_ghost, arg=False)
    page.mouse.move(*middle)
    page.wait_for_function(is_ghost, arg=True)
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
        total = page.locator("#faithfulness .total")
        page.locator("#layout-pane").focus()
        page.keyboard.press("Control+z")  # there is nothing to undo
        page.evaluate("() => gesso.apply('nothing', (document) => document)")
        expect(total).to_be_visible()
        assert page.evaluate("() => window.laid !== null"), "it stays while the photograph does"
        page.evaluate("async () => gesso.preview((await import('/model/edits.js')).setSeed(gesso.document, 5))")
        expect(total).to_be_hidden()
        assert page.evaluate("() => window.laid") is None, "it is of another photograph"
        page.evaluate("() => gesso.preview(null)")
        expect(total).to_be_visible()
        row(page, f"car {LEFT}").click()
        press(page, "Delete (Del)")
        expect(total).not_to_have_text(f"{round(100 * right)} %")
        expect(total).to_be_visible()
        assert page.evaluate("() => window.laid !== null")
        page.locator("#layout-pane").focus()
        page.keyboard.press("f")
        expect(total).to_be_hidden()
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


def bytes_in_arrays(page: Page) -> int:
    """What typed arrays take that can still be reached."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    found = int(session.send("Runtime.getHeapUsage")["backingStorageSize"])
    session.detach()
    return found


def test_earlier_photographs_hold_no_whole_layouts(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    items = page.locator(".history li")
    expect(items).to_have_count(1)
    taken = []
    for number in range(5):
        page.evaluate(
            """async ([number, road]) => {
                const { paint } = await import("/model/edits.js");
                const mask = { x: 8 * number, y: 1, width: 6, height: 6, bits: new Uint8Array(36).fill(1) };
                gesso.apply("Paint", (document) => paint(document, mask, road).document);
            }""",
            [number, ROAD],
        )
        expect(items).to_have_count(number + 2)
        look(page)
        page.locator("#styles").get_by_label("All of").select_option(label=["road", "car"][number % 2])
        taken.append(bytes_in_arrays(page))
    whole = 64 * 32 * (2 + 4)  # bytes of the ground alone
    assert taken[-1] - taken[1] < whole, taken


# What a key changes, by what the help says of it; tools change the tool.
ORDER, MOVED = "gesso.document.objects.map(({ key }) => key)", "gesso.selected.map(({ mask }) => [mask.x, mask.y])"
EFFECTS = {
    "Material of that number": "gesso.tool.classIndex",
    "Material of that number and 9": "gesso.tool.classIndex",
    "Search the materials": "document.activeElement.tagName",
    "The material before": "gesso.tool.classIndex",
    "Smaller brush (or wheel)": "gesso.tool.size",
    "Larger brush (or wheel)": "gesso.tool.size",
    "Each stroke a new object": "gesso.tool.newObject",
    "Delete what is selected": ORDER,
    "Duplicate": ORDER,
    "Select all objects": "gesso.selection.size",
    "Bring forward": ORDER,
    "Send backward": ORDER,
    "Bring to the front": ORDER,
    "Send to the back": ORDER,
    "Merge": ORDER,
    "Lock or unlock": "gesso.selected.map(({ locked }) => locked)",
    "Move by 1 pixel": MOVED,
    "Move by 10 pixels": MOVED,
    "Zoom in": "gesso.view.viewport.scale",
    "Zoom out": "gesso.view.viewport.scale",
    "Show all of the picture": "gesso.view.viewport.scale",
    "Two panes, or before and after": "gesso.view.settings.wipe",
    "Boundaries": "gesso.view.settings.boundaries",
    "Outlines of what is selected": "gesso.view.settings.outlines",
    "Faithfulness": "commands.length",  # what it does has its own test, with a segmenter
    "Times": "document.querySelector('#latency [aria-label=Times]').checkVisibility()",
    "Undo": "gesso.history.position",
    "Redo": "gesso.history.position",
    "Draw all styles anew": "gesso.document.styles.seed",
    "Save the project": "document.querySelector('#messages').textContent.includes('.zip')",
    "Open": "document.querySelectorAll(':popover-open').length",
    "This help": "document.querySelectorAll('dialog[open]').length",
}
# Three objects, one over the other, of which the middle one is selected (for a merge two); something to undo and to redo.
READY = """async what => {
    const { moveObject, setSeed } = await import("/model/edits.js");
    const { gesso: app } = window;
    window.first ??= app.document;
    window.commands ??= app.on("command", () => commands.push(1)) && [];
    document.querySelector("dialog[open]")?.close();
    const [left, middle, right] = first.objects;
    app.replaceDocument(first, { keepHistory: true });
    app.apply("one over the other", (now) => [left, right].reduce((made, { key, mask }) => moveObject(made, key,
        middle.mask.x - mask.x, middle.mask.y - mask.y), now));
    app.apply("to be done again", (now) => setSeed(now, 123456));
    app.undo();
    app.setTool({ name: what === "Pick a class" ? "brush" : "eyedropper", classIndex: 2, size: 32 });
    app.setTool({ classIndex: app.model.classes.length });
    app.select(what === "Merge" ? [left.key, middle.key] : [middle.key]);
    app.view.fit();
    app.view.zoomBy(2);
    document.querySelector("#layout-pane").focus();
}"""


def test_every_key_does_what_the_help_says(context: BrowserContext, address: str) -> None:
    page = start(context, address)
    look(page)
    table = page.evaluate(
        "async () => (await import('/tools/keys.js')).KEYS.map((one) => ({ ...one, act: Boolean(one.act) }))"
    )
    classes = page.evaluate("() => gesso.model.classes.length")
    for shortcut in table:
        if not shortcut["act"]:
            continue
        what, names = shortcut["what"], shortcut["keys"]
        effect = "gesso.tool.name" if shortcut["group"] == "Tools" else EFFECTS[what]
        for name in names[: classes - 9 if what.endswith("and 9") else None]:
            page.evaluate(READY, what)
            now = f"() => JSON.stringify({effect})"
            before = page.evaluate(now)
            page.keyboard.press(typed(name))
            for _ in range(100):
                if page.evaluate(now) != before:
                    break
                page.wait_for_timeout(50)
            else:
                pytest.fail(f"{name} does not do what the help says of it: {what}")


def typed(name: str) -> str:
    """How Playwright calls a key of the help."""
    name = name.replace("Ctrl+", "Control+")
    return re.sub(r"^Shift\+(\d)$", r"Shift+Digit\1", name.lower() if len(name) == 1 else name)


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
