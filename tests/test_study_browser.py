"""The page of a study in Chromium: participants of known taste, exposures in frames, what happens when the server dies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from gesso.study import design
from gesso.study.store import Store
from gesso.study.tally import Tally, tally
from studied import Choose, likes, make_study, seen, served, served_apart

pytestmark = pytest.mark.browser

FRAME = 1000 / 60

# The pixels of both canvases as soon as a trial can be answered; `count` is what the page says of its progress.
READY = """count => {
    const button = document.querySelector("#answers button");
    if (button.disabled || document.getElementById("count").textContent !== count) return null;
    return ["left", "right"].map(side => {
        const canvas = document.getElementById(side);
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    });
}"""
# What the screen did, noted from outside of the page's own code: when pictures came and went, and every frame.
RECORDER = """
    window.frames_ = [];
    window.changes = [];
    const frame = now => { window.frames_.push(now); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    document.addEventListener("DOMContentLoaded", () => {
        const note = records => {
            for (const { target } of records) {
                const visible = getComputedStyle(target).opacity === "1";
                window.changes.push({ side: target.id, visible, at: document.timeline.currentTime });
            }
        };
        const observer = new MutationObserver(note);
        for (const side of ["left", "right"]) {
            observer.observe(document.getElementById(side), { attributes: true, attributeFilter: ["class"] });
        }
    });
"""


class Spell(NamedTuple):
    """A picture was on the screen, in ms of the page's clock, and the longest frame meanwhile."""

    side: str
    start: float
    end: float
    longest_frame: float


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A participant's own browser, in which nothing may go wrong unseen."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(RECORDER)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    yield context
    context.close()
    assert wrong == []


def begin(context: BrowserContext, address: str) -> Page:
    """Open the page, read the instructions, begin with the keyboard."""
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#go")).to_be_focused()
    page.keyboard.press("Enter")
    return page


def look(page: Page, count: str) -> tuple[str, str]:
    """What is on the left and on the right of the trial that the page counts so."""
    rows = page.wait_for_function(READY, arg=count).json_value()
    left, right = (seen(np.array(row).reshape(-1, 1, 4)[..., :3]) for row in rows)
    return left, right


def press(page: Page, side: str) -> None:
    page.keyboard.press({"left": "ArrowLeft", "right": "ArrowRight"}[side])


def take_part(page: Page, choose: Choose, total: int, first: int = 1) -> None:
    for number in range(first, total + 1):
        press(page, choose(*look(page, f"{number} of {total}")))
    expect(page.locator("#words h1")).to_have_text("Thank you")


def count(study: Path) -> Tally:
    store = Store(study / "study.sqlite")
    return tally(design.load(study), store.answers(), store.sizes())


def spells(page: Page) -> list[Spell]:
    changes, frames = page.evaluate("[window.changes, window.frames_]")
    began: dict[str, float] = {}
    found = []
    for change in changes:
        if change["visible"]:
            began.setdefault(change["side"], change["at"])
        elif (start := began.pop(change["side"], None)) is not None:
            within = [at for at in frames if start <= at <= change["at"]]
            longest = float(np.diff(within).max()) if len(within) > 1 else change["at"] - start
            found.append(Spell(change["side"], start, change["at"], longest))
    return found


def stored(study: Path) -> list[dict[str, Any]]:
    """Votes in order: what was measured and asked for."""
    with closing(sqlite3.connect(study / "study.sqlite")) as connection:
        rows = connection.execute(
            "SELECT participant, position, side, shown_ms, frame_ms, exposure FROM votes JOIN trials "
            "USING (participant, position) ORDER BY 1, 2"
        ).fetchall()
    names = ("participant", "position", "side", "shown_ms", "frame_ms", "exposure")
    return [{**dict(zip(names, row, strict=True)), "shown_ms": json.loads(row[3])} for row in rows]


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(1.0, id="always-A", marks=pytest.mark.slow),
        pytest.param(0.5, id="coin", marks=pytest.mark.slow),
        pytest.param(0.7, id="70-percent-A"),
    ],
)
def test_known_tastes_are_recovered(tmp_path: Path, context: BrowserContext, share: float) -> None:
    study = make_study(tmp_path, 36, trials=36, checks=2)
    with served(study) as address:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        take_part(begin(context, address), likes(share, 11), 38)
        assert all(url.startswith((address, "blob:")) for url in asked), "nothing is fetched from elsewhere"
    (pair,) = (found := count(study)).pairs
    assert (found.complete, found.excluded, pair.all.votes) == (1, 0, 36)
    assert pair.all.low <= share <= pair.all.high, pair
    assert (pair.all.p < 0.05) == (share != 0.5)
    print(f"{share:.0%} amber: {pair.all.share:.1%}, {pair.all.low:.1%} to {pair.all.high:.1%}, p {pair.all.p:.4f}")


@pytest.mark.slow
def test_who_does_not_look_is_left_out(tmp_path: Path, chromium: Browser) -> None:
    study = make_study(tmp_path, 8, trials=6, checks=4)
    with served(study) as address:
        for choose in (likes(1.0, 1), lambda left, right: "left"):
            context = chromium.new_context()
            take_part(begin(context, address), choose, 10)
            context.close()
    found = count(study)
    assert (found.enrolled, found.complete, found.excluded, found.votes) == (2, 2, 1, 6)
    assert found.pairs[0].all.share == 1.0


def test_an_eighth_of_a_second_is_that_to_one_frame(tmp_path: Path, context: BrowserContext) -> None:
    """What the page stored is what the screen did, and is within one of the screen's frames of what was asked for."""
    study = make_study(tmp_path, 10, protocol="timed", exposures=(0.125,), trials=10, checks=0)
    with served(study) as address:
        page = begin(context, address)
        take_part(page, likes(0.5, 2), 10)
        observed = [spell for spell in spells(page) if spell.side == "left"]
        loaded = page.evaluate(
            "Object.fromEntries(performance.getEntriesByType('resource').map(e => [new URL(e.name).pathname, e.responseEnd]))"
        )
    votes = stored(study)
    assert len(votes) == len(observed) == 10
    errors = []
    for place, (vote, spell) in enumerate(zip(votes, observed, strict=True)):
        (measured,) = vote["shown_ms"]
        assert measured == pytest.approx(spell.end - spell.start, abs=0.1)
        assert abs(measured - 125) <= max(spell.longest_frame, FRAME) + 0.1, (measured, spell)
        assert all(loaded[f"/api/trials/{place}/{side}"] < spell.start for side in ("left", "right")), "loaded before"
        errors.append(abs(measured - 125))
    assert np.median(errors) <= FRAME + 0.1, errors
    assert votes[0]["frame_ms"] == pytest.approx(FRAME, rel=0.2)
    print("exposures at 1/8 s:", [round(vote["shown_ms"][0], 1) for vote in votes], "largest error", max(errors))


def test_real_or_fake_shows_one_after_the_other(tmp_path: Path, context: BrowserContext) -> None:
    study = make_study(tmp_path, 8, protocol="real-or-fake", trials=2, practice=1)
    with served(study) as address:
        page = begin(context, address)
        left, _ = look(page, "Practice 1 of 1")
        press(page, "right" if left == "real" else "left")
        expect(page.locator("#question")).to_have_text(
            f"Right: the {'right' if left == 'real' else 'left'} one was fake."
        )
        take_part(page, lambda left, right: "left" if left == "real" else "right", 2)
        observed = spells(page)
    assert [spell.side for spell in observed] == ["left", "right"] * 3
    for first, second in zip(observed[::2], observed[1::2], strict=True):
        assert first.end <= second.start, "never both at once"
    for vote, first, second in zip(stored(study), observed[::2], observed[1::2], strict=True):
        for measured, spell in zip(vote["shown_ms"], (first, second), strict=True):
            assert measured == pytest.approx(spell.end - spell.start, abs=0.1)
            assert abs(measured - 1000) <= max(spell.longest_frame, FRAME) + 0.1
    assert sum(pair.all.wins for pair in count(study).pairs) == 2, "both times the real one was taken for the fake"


def test_a_vote_survives_the_death_of_the_server(tmp_path: Path, context: BrowserContext) -> None:
    study = make_study(tmp_path, 6, trials=6, checks=0)
    with served_apart(study) as (address, process):
        page = begin(context, address)
        for number in (1, 2):
            press(page, likes(1.0, 0)(*look(page, f"{number} of 6")))
        choice = likes(1.0, 0)(*look(page, "3 of 6"))
        process.kill()
        process.wait()
        press(page, choice)
        expect(page.locator("#trouble")).to_contain_text("No connection")
        assert len(stored(study)) == 2
    with served_apart(study, port=int(address.rsplit(":", 1)[1])):
        take_part(page, likes(1.0, 0), 6, first=4)
        expect(page.locator("#trouble")).to_be_hidden()
    assert [vote["position"] for vote in stored(study)] == list(range(6))
    assert count(study).pairs[0].all.wins == 6


def test_a_second_tab_takes_over_and_nothing_counts_twice(tmp_path: Path, context: BrowserContext) -> None:
    study = make_study(tmp_path, 6, trials=6, checks=0)
    with served(study) as address:
        first = begin(context, address)
        press(first, likes(1.0, 0)(*look(first, "1 of 6")))
        look(first, "2 of 6")
        second = begin(context, address)  # in it, Enter goes on where the first tab was
        look(second, "2 of 6")
        first.bring_to_front()
        press(first, "left")
        expect(first.locator("#words h1")).to_have_text("Open elsewhere")
        assert len(stored(study)) == 1
        second.bring_to_front()
        take_part(second, likes(1.0, 0), 6, first=2)
        second.reload()
        expect(second.locator("#words h1")).to_have_text("Thank you")
    found = count(study)
    assert (found.enrolled, found.complete, found.votes, found.pairs[0].all.wins) == (1, 1, 6, 6)


def test_keys_held_down_and_keys_too_early_do_not_answer(tmp_path: Path, context: BrowserContext) -> None:
    study = make_study(tmp_path, 6, protocol="timed", exposures=(0.5,), trials=2, checks=0)
    with served(study) as address:
        page = begin(context, address)
        page.wait_for_selector("#stage.waiting")
        for _ in range(5):
            press(page, "left")
        look(page, "1 of 2")
        assert stored(study) == []
        page.keyboard.down("ArrowLeft")
        page.keyboard.down("ArrowLeft")
        look(page, "2 of 2")
        page.keyboard.down("ArrowLeft")
        page.wait_for_timeout(200)
        assert len(stored(study)) == 1, "a key that is held down answers once"


def test_buttons_and_a_narrow_screen_do_too(tmp_path: Path, chromium: Browser) -> None:
    study = make_study(tmp_path, 4, trials=2, checks=0)
    context = chromium.new_context(viewport={"width": 380, "height": 640}, has_touch=True)
    with served(study) as address:
        page = begin(context, address)
        look(page, "1 of 2")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#answers button").nth(1).tap()
        look(page, "2 of 2")
        page.locator("#left").tap()
        expect(page.locator("#words h1")).to_have_text("Thank you")
    context.close()
    assert [vote["side"] for vote in stored(study)] == ["right", "left"]


def test_a_kiosk_offers_to_begin_again(tmp_path: Path, context: BrowserContext) -> None:
    study = make_study(tmp_path, 4, trials=1, checks=0)
    with served(study, kiosk=True) as address:
        page = begin(context, address)
        for _ in range(2):
            look(page, "1 of 1")
            press(page, "left")
            page.get_by_role("button", name="Next participant").click()
            page.get_by_role("button", name="Begin").click()
    assert {vote["participant"] for vote in stored(study)} == {0, 1}
