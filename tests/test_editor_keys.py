"""The editor's keys, buttons and fingers in Chromium: who gets a key, that both ways do the same, what a tablet reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from paged import press, visit
from painted import CAR, GRASS, ROAD, SKY, SPACE, TREE, Canvas

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("one_thread")]

PERSON = SPACE.index("person")


@pytest.fixture
def canvas(blank_editor: Canvas) -> Canvas:
    """An empty sky, a small brush, the keyboard with nobody."""
    blank_editor.page.mouse.move(1, 1)
    blank_editor.page.evaluate("document.activeElement.blur()")
    blank_editor.blank()
    blank_editor.hold("brush", ROAD, size=8, newObject=False, fill="contiguous", gap=0)
    return blank_editor


def focus_is_within(page: Page, selector: str) -> bool:
    return bool(page.evaluate("where => document.activeElement.closest(where) !== null", selector))


# ------------------------------------------------------------------------------------------------------- who gets a key


@pytest.mark.parametrize("way", ["pointer", "keyboard"])
def test_a_chosen_material_leaves_the_keys_to_the_tools(canvas: Canvas, way: str) -> None:
    page = canvas.page
    key = canvas.ask("put", [CAR, 30, 20, 20, 10])
    page.evaluate("key => gesso.select([key])", key)
    material = page.get_by_role("combobox", name="Material", exact=True)
    if way == "pointer":
        material.click()
        page.keyboard.press("Escape")  # the list closes, and the focus stays
        expect(material).to_be_focused()
        material.select_option("person")
        expect(material).not_to_be_focused()
    else:
        material.focus()
        for _ in range(SPACE.index("person") - CAR):
            page.keyboard.press("ArrowDown")
        expect(material).to_be_focused()
    assert canvas.objects[0]["index"] == PERSON
    page.keyboard.press("b")
    page.keyboard.press("c")  # no shortcut; of a focused list it would choose the car
    assert (canvas.tool["name"], canvas.objects[0]["index"]) == ("brush", PERSON)
    page.keyboard.press("Control+z")
    assert canvas.objects[0]["index"] == CAR


def test_ctrl_is_the_pages_own_in_fields_and_menus(canvas: Canvas) -> None:
    page = canvas.page
    commands = page.evaluate_handle(
        "() => { const all = []; gesso.on('command', name => all.push(name)); return all; }"
    )
    page.evaluate("() => addEventListener('keydown', event => { window.kept = event.defaultPrevented; })")
    search = page.get_by_role("searchbox", name="Search materials")
    search.focus()
    page.keyboard.press("Control+s")
    assert commands.json_value() == ["save"]
    assert page.evaluate("kept"), "the browser's own dialog stays away"
    search.fill("tree")
    page.keyboard.press("Control+z")
    assert search.input_value() != "tree", "text is undone in the field itself"
    search.fill("")
    press(page, "Save")
    page.keyboard.press("Control+s")
    assert commands.json_value() == ["save", "save"]
    page.keyboard.press("Escape")


@pytest.mark.parametrize("clicked", ["[data-tool=brush]", "#newObject", "button[title^='Show boundaries']"])
def test_space_moves_the_view_after_a_click_on_a_control(canvas: Canvas, clicked: str) -> None:
    page = canvas.page
    canvas.hold("brush", CAR)
    page.locator(clicked).click()
    chosen = (canvas.tool, page.evaluate("gesso.view.settings.boundaries"))
    canvas.go(60, 30)
    before = page.evaluate("gesso.view.viewport.centre.x")
    page.keyboard.down("Space")
    canvas.drag((60, 30), (50, 30))
    page.keyboard.up("Space")
    assert page.evaluate("gesso.view.viewport.centre.x") == pytest.approx(before + 10, abs=0.5)
    assert (canvas.label == SKY).all()
    assert (canvas.tool, page.evaluate("gesso.view.settings.boundaries")) == chosen, "nothing was pressed again"
    page.evaluate("gesso.view.set({ boundaries: false })")
    page.keyboard.press("0")


def test_enter_closes_a_polygon_after_a_click_on_its_button(canvas: Canvas) -> None:
    canvas.page.locator("[data-tool=polygon]").click()
    for place in ((20, 10), (90, 15), (60, 50)):
        canvas.click(*place)
        canvas.page.wait_for_timeout(20)
    canvas.page.locator("[data-tool=polygon]").click()  # and the pane has lost the keyboard
    canvas.page.keyboard.press("Enter")
    assert (canvas.label == ROAD).sum() > 500


def test_who_goes_by_keyboard_keeps_the_focus(canvas: Canvas) -> None:
    page = canvas.page
    boundaries = page.get_by_role("button", name="Show boundaries")
    canvas.go(60, 30)
    boundaries.focus()
    for pressed in ("true", "false"):
        page.keyboard.press("Space")
        expect(boundaries).to_have_attribute("aria-pressed", pressed)
        expect(boundaries).to_be_focused()


def test_a_material_used_last_keeps_the_focus_when_it_is_chosen(canvas: Canvas) -> None:
    page = canvas.page
    for index in (SKY, GRASS, TREE):
        canvas.hold("brush", index)
    page.locator(".recent button").nth(2).focus()
    page.keyboard.press("Enter")
    assert canvas.tool["classIndex"] == SKY
    expect(page.locator(".recent button").first).to_be_focused()
    expect(page.locator(".recent button").first).to_have_attribute("aria-label", "sky")
    page.locator(".materials").evaluate("list => { list.style.maxHeight = '90px'; list.scrollTop = 200; }")
    before = page.locator(".materials").evaluate("list => list.scrollTop")
    page.keyboard.press("]")
    assert page.locator(".materials").evaluate("list => list.scrollTop") == before > 0, "another size scrolls nothing"
    expect(page.locator(".recent button").first).to_be_focused()
    page.locator(".materials").evaluate("list => { list.style.maxHeight = ''; }")


def test_shift_and_a_number_holds_the_materials_after_the_ninth(canvas: Canvas) -> None:
    page = canvas.page
    rows = page.locator(".material")
    names = [rows.nth(place).locator("span:not(.swatch)").inner_text() for place in (9, 10)]
    assert names == ["car", "person"]
    for number, name in enumerate(names, 1):
        page.keyboard.press(f"Shift+Digit{number}")
        assert canvas.tool["classIndex"] == SPACE.index(name)
        assert rows.nth(8 + number).locator("kbd").inner_text() == f"⇧{number}"


TYPE = """([key, code, shiftKey]) => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true }))"""


def test_keys_mean_the_same_on_keyboards_of_other_countries(canvas: Canvas) -> None:
    page = canvas.page
    search = page.get_by_role("searchbox", name="Search materials")
    scale = page.evaluate("gesso.view.viewport.scale")
    page.evaluate(TYPE, ["+", "Digit1", True])  # Swiss; unshifted it zooms
    assert (canvas.tool["classIndex"], page.evaluate("gesso.view.viewport.scale")) == (CAR, scale)
    for key, code, shift in (
        ("/", "Digit7", True),
        ("/", "NumpadDivide", False),
    ):  # German; there is no sixteenth material
        page.evaluate(TYPE, [key, code, shift])
        expect(search).to_be_focused()
        page.keyboard.press("Escape")
        expect(search).not_to_be_focused()
    page.keyboard.press("Control+f")
    expect(search).to_be_focused()
    search.blur()
    for key, code in (("?", "Minus"), ("?", "Slash")):
        page.evaluate(TYPE, [key, code, True])
        expect(page.locator("dialog.help")).to_be_visible()
        page.keyboard.press("Escape")


# ------------------------------------------------------------------------------------- keys and buttons do the same


def by_key(key: str) -> Callable[[Page], None]:
    return lambda page: page.keyboard.press(key)


def by_button(name: str) -> Callable[[Page], None]:
    return lambda page: press(page, name)


BOTH = {
    "front": (by_key("Shift+PageUp"), by_button("Bring to the front")),
    "back": (by_key("Shift+PageDown"), by_button("Send to the back")),
    "forward": (by_key("PageUp"), by_button("Bring forward")),
    "backward": (by_key("PageDown"), by_button("Send backward")),
    "merge": (by_key("m"), by_button("Merge into one object")),
    "move": (by_key("ArrowRight"), by_button("Move right (Shift: by 10)")),
    "duplicate": (by_key("Control+d"), by_button("Duplicate (Ctrl+D)")),
    "delete": (by_key("Delete"), by_button("Delete (Del)")),
}
STATE = """() => [gesso.document.objects.map(({ id, mask }) => [id, mask.x]), gesso.selected.map(({ id }) => id),
               gesso.history.undoName]"""


def outcomes(canvas: Canvas, what: str, chosen: list[int], locked: int | None = None) -> list[Any]:
    """What key and button make of five cars that overlap, of which some are selected."""
    found = []
    for act in BOTH[what]:
        canvas.blank()
        keys = [canvas.ask("put", [CAR, 20 + 6 * number, 20, 20, 10]) for number in range(5)]
        if locked is not None:
            canvas.ask("lock", keys[locked])
        canvas.page.evaluate("keys => gesso.select(keys)", [keys[number] for number in chosen])
        act(canvas.page)
        found.append(canvas.page.evaluate(STATE))
    return found


@pytest.mark.parametrize("what", BOTH)
def test_keys_and_buttons_do_the_same_to_several(canvas: Canvas, what: str) -> None:
    by_key, by_button = outcomes(canvas, what, [3, 1, 2])
    assert by_key == by_button


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("front", [0, 4, 1, 2, 3]),
        ("back", [1, 2, 3, 0, 4]),
        ("forward", [0, 4, 1, 2, 3]),
        ("backward", [1, 2, 3, 0, 4]),
    ],
)
def test_several_keep_their_order(canvas: Canvas, what: str, expected: list[int]) -> None:
    for objects, _, _ in outcomes(canvas, what, [1, 2, 3]):
        assert [(x - 20) // 6 for _, x in objects] == expected
    for objects, _, _ in outcomes(canvas, what, [0, 1, 2, 3, 4]):
        assert [(x - 20) // 6 for _, x in objects] == [0, 1, 2, 3, 4], "all of them have nothing to pass"


def test_the_locked_stay_where_others_move(canvas: Canvas) -> None:
    for objects, _, _ in outcomes(canvas, "move", [1, 2], locked=2):
        assert [x for _, x in objects] == [20, 27, 32, 38, 44]
    for act in BOTH["move"]:
        canvas.blank()
        canvas.ask("lock", canvas.ask("put", [CAR, 30, 20, 20, 10]))
        canvas.page.evaluate("gesso.select([gesso.document.objects[0].key])")
        act(canvas.page)
        toast = canvas.page.locator(".toast", has_text="locked")
        expect(toast).to_be_visible()
        toast.get_by_role("button").click()
        expect(toast).to_have_count(0)


def test_a_merge_of_several_materials_is_said(canvas: Canvas) -> None:
    keys = [canvas.ask("put", [index, x, 20, 20, 10]) for index, x in ((TREE, 20), (CAR, 30))]
    canvas.page.evaluate("keys => gesso.select(keys)", keys)
    canvas.page.keyboard.press("m")
    assert [one["index"] for one in canvas.objects] == [CAR]
    assert canvas.selection == [keys[1]]
    expect(canvas.page.locator(".toast", has_text="car, tree")).to_contain_text("all of it is car")


# ------------------------------------------------------------------------------------------------------ menus, clicks


def test_a_menu_closes_when_tab_leaves_it(canvas: Canvas) -> None:
    page = canvas.page
    press(page, "Save")
    menu = page.get_by_role("menu", name="Save")
    expect(menu).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        if not focus_is_within(page, ".menu"):
            break
    assert not focus_is_within(page, ".menu, #files"), "it went on to the next control"
    expect(menu).to_be_hidden()
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_attribute("aria-expanded", "false")


def test_a_menu_that_grows_moves_to_where_there_is_room(canvas: Canvas) -> None:
    heights = canvas.page.evaluate("""async () => {
        const { Menu } = await import("/panels/menu.js");
        const [opener, panel, entry] = ["button", "div", "p"].map(kind => document.createElement(kind));
        Object.assign(opener.style, { position: "fixed", left: "300px", top: "480px", height: "30px" });
        panel.className = "menu";
        panel.append(entry);
        document.body.append(opener, panel);
        const menu = new Menu(opener, panel);
        const height = () => Math.round(panel.getBoundingClientRect().height);
        entry.style.height = "20px";
        menu.open();
        const first = height();
        entry.style.height = "900px";
        menu.place();
        const found = [first, height(), panel.getBoundingClientRect().bottom];
        for (const element of [opener, panel]) element.remove();
        return found;
    }""")
    assert heights[0] < 100
    assert heights[1] > 440, "all of the room above the button"
    assert heights[2] <= 480


@pytest.mark.parametrize("tool", ["rectangle", "ellipse", "lasso"])
def test_a_click_draws_no_shape(canvas: Canvas, tool: str) -> None:
    canvas.hold(tool, CAR)
    canvas.click(40.5, 30.5)
    assert (canvas.objects, canvas.page.evaluate("gesso.history.canUndo")) == ([], False)
    canvas.drag((40.5, 30.5), (50.5, 40.5), (60.5, 20.5), (41.5, 31.5))
    assert len(canvas.objects) == 1, "a drag that comes back draws one"


# ------------------------------------------------------------------------------------------------------------ tablets


@pytest.fixture
def tablet(chromium: Browser, blank_address: str) -> Iterator[Canvas]:
    context = chromium.new_context(viewport={"width": 1024, "height": 768}, has_touch=True)
    canvas = Canvas(visit(context, blank_address))
    canvas.blank()
    yield canvas
    context.close()


def tap(canvas: Canvas, x: float, y: float) -> None:
    canvas.page.touchscreen.tap(*canvas.ask("place", [x, y, "layout"]))


def test_fingers_select_several_and_merge_them(tablet: Canvas) -> None:
    keys = [tablet.ask("put", [CAR, x, 20, 20, 10]) for x in (10, 50, 90)]
    page = tablet.page
    tablet.hold("select")
    tap(tablet, 15, 25)
    tap(tablet, 55, 25)
    assert tablet.selection == [keys[1]]
    page.get_by_label("Several", exact=True).tap()
    expect(page.get_by_role("button", name="Select several")).to_have_attribute("aria-pressed", "true")
    tap(tablet, 15, 25)
    tap(tablet, 95, 25)
    tap(tablet, 95, 25)  # and out again
    assert tablet.selection == [keys[1], keys[0]]
    page.locator(".object-name").first.tap()  # the frontmost, in the list
    assert tablet.selection == [keys[1], keys[0], keys[2]]
    page.get_by_role("button", name="Merge into one object").tap()
    assert len(tablet.objects) == 1
    page.get_by_role("button", name="Select several").tap()
    expect(page.get_by_label("Several", exact=True)).not_to_be_checked()


def test_times_and_outlines_have_buttons(tablet: Canvas) -> None:
    page = tablet.page
    page.get_by_role("button", name="Times of the last photographs").tap()
    expect(page.get_by_role("region", name="Times")).to_be_visible()
    outlines = page.get_by_role("button", name="Outline what is selected")
    for shown in (False, True):
        outlines.tap()
        expect(outlines).to_have_attribute("aria-pressed", str(shown).lower())
        assert page.evaluate("gesso.view.settings.outlines") is shown


# Controls that are seen: name, box, and whether what holds them cuts them off to the right.
CONTROLS = """() => [...document.querySelectorAll("button, select")].filter(one => one.checkVisibility()).map(one => {
    const { width, height, right } = one.getBoundingClientRect();
    const holder = one.closest(".objects, .object-tools, .panel, #bar, #toolbar, main") ?? document.body;
    return [one.ariaLabel || one.textContent, width, height, right - holder.getBoundingClientRect().right];
})"""


def test_controls_are_large_enough_for_fingers_and_whole(tablet: Canvas) -> None:
    keys = [tablet.ask("put", [CAR, x, 20, 20, 10]) for x in (10, 50, 90)]
    tablet.page.evaluate("keys => gesso.select(keys)", keys[:2])
    tablet.page.locator(".history li").first.wait_for()
    controls = {name: sizes for name, *sizes in tablet.page.evaluate(CONTROLS)}
    assert [name for name, (width, height, over) in controls.items() if min(width, height) < 24 or over > 0] == []
    for name in ("Merge into one object", "Send backward", "Delete (Del)"):
        width, height, _ = controls[name]
        assert min(width, height) >= 40, name
    assert any(name.startswith("Lock car") for name in controls)
    assert any(name.startswith("Forget photograph") for name in controls)


def test_a_pen_draws_while_the_palm_rests(tablet: Canvas) -> None:
    tablet.hold("brush", ROAD, size=8)
    session = tablet.page.context.new_cdp_session(tablet.page)
    palm = tablet.ask("place", [100, 50, "layout"])

    def touch(kind: str, *places: list[float]) -> None:
        points = [{"x": x, "y": y, "id": 0} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def pen(kind: str, x: float, y: float) -> None:
        across, down = tablet.ask("place", [x, y, "layout"])
        held = {"button": "left", "buttons": 1, "clickCount": 1, "pointerType": "pen", "force": 0.5}
        session.send("Input.dispatchMouseEvent", {"type": kind, "x": across, "y": down, **held})

    touch("touchStart", palm)
    pen("mousePressed", 20, 20)
    pen("mouseMoved", 40, 20)
    touch("touchMove", [palm[0] + 8, palm[1] + 8])
    pen("mouseMoved", 60, 20)
    pen("mouseReleased", 60, 20)
    touch("touchEnd")
    drawn = tablet.label == ROAD
    assert drawn[19:22, 22:58].all()
    assert not drawn[:, 70:].any(), "the palm leaves nothing"
    assert tablet.page.evaluate("gesso.history.undoName") == "Paint road"
