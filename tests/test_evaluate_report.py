"""The report of an evaluation: what is marked and drawn, which layouts are shown, and that the page needs nothing else."""

from __future__ import annotations

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser

from evaluated import MODELS, SPACE, evaluation
from gesso.evaluate import class_charts, score_tables
from gesso.evaluate import report_parts as parts
from gesso.evaluate.galleries import galleries
from gesso.evaluate.report import to_html
from gesso.evaluate.results import COLUMNS, ClassRow, Evaluation, LayoutScore, Number, Row

IMAGE = re.compile(r'<img alt="([^"]*)" src="data:image/webp;base64,([^"]+)"')
OVERFLOWING = """[...document.querySelectorAll("h1, h2, p, dd, dt, figcaption, summary, td, th")]
    .filter(element => element.clientWidth && element.scrollWidth > element.clientWidth + 1)
    .map(element => element.outerHTML.slice(0, 200))"""
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of three models on six layouts, as on the disk."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluation(folder)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Evaluation:
    return Evaluation.read(folder / "evaluation.json")


@pytest.fixture(scope="module")
def page(folder: Path, found: Evaluation) -> str:
    return to_html(found, folder)


def renamed(found: Evaluation, **change: object) -> Evaluation:
    """The evaluation with its first model changed."""
    oracle, first, *others = found.rows
    return found.model_copy(update={"rows": (oracle, first.model_copy(update=change), *others)})


def section(page: str, title: str) -> str:
    start = page.index(f'<h2 id="{parts.anchor(title)}">')
    end = page.find("<h2", start + 1)
    return page[start : end if end > 0 else None]


def row_of(name: str, numbers: dict[str, Number], kind: str = "model") -> Row:
    return Row.model_validate({"name": name, "kind": kind, "numbers": numbers})


# --------------------------------------------------------------------------------------------------------------- the page


class Structure(HTMLParser):
    """What is open at the end, and everything that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"script", "link", "iframe"} or any(name.startswith("on") for name in given):
            self.fetched.append(tag)
        self.fetched += [v or "" for k, v in attrs if k == "src" and not (v or "").startswith("data:")]
        self.anchors += [v or "" for k, v in attrs if k == "href"]
        self.ids += [v or "" for k, v in attrs if k == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_is_well_formed(page: str) -> None:
    structure = Structure()
    structure.feed(page)
    assert structure.open == [] and structure.fetched == [] and "url(" not in page and "@import" not in page
    assert structure.anchors and set(structure.anchors) == {f"#{name}" for name in structure.ids}


def test_every_number_its_interval_and_its_protocol_are_there(page: str, found: Evaluation) -> None:
    scores = section(page, "Scores")
    for row in found.rows:
        for name, number in row.numbers.items():
            assert parts.value_text(number.value, COLUMNS[name]) in scores
            assert parts.interval_text(number, COLUMNS[name]) in scores
    protocol = section(page, "Protocol")
    for said in (
        "compact U-Net trained on toy train 1a2b3c4d",
        "3f9a01c2",
        "32x64",
        "torch 2.11.0",
        "8 layouts, 4 results each",
    ):
        assert said in protocol


def test_names_cannot_become_markup(folder: Path, found: Evaluation) -> None:
    evil = '"><script>alert(1)</script>'
    classes = tuple(c.model_copy(update={"name": f"{evil}{c.name}"}) for c in found.rows[1].classes)
    changed = renamed(found, name=evil, facts={evil: evil}, missing={evil: evil}, classes=classes, seconds={evil: 1.0})
    structure = Structure()
    structure.feed(to_html(changed, folder, title=evil, remarks=[evil]))
    assert structure.open == [] and structure.fetched == []


def test_what_was_not_measured_is_said_once_with_its_reason(page: str) -> None:
    said = section(page, "Not measured")
    assert said.count("the model has no encoder") == 1
    assert "pix2pix, pix2pixHD, SPADE: L1 in own style" in said and "real photographs: diversity" in said


def test_time_is_summed_and_shared_among_the_layouts(page: str) -> None:
    cells = re.findall(r">([^<>]+)</t[hd]>", section(page, "Time"))
    lines = [cells[start : start + 5] for start in range(4, len(cells), 5)]
    assert lines[0] == ["segmentation", "2.1 s", "2.2 s", "2.2 s", "2.2 s"] and lines[2][1] == "–"
    assert lines[-2] == ["all", "3.5 s", "25.2 s", "25.2 s", "25.2 s"]
    assert lines[-1] == ["all, per layout", "583 ms", "4200 ms", "4200 ms", "4200 ms"]


def test_photographs_alone_and_pictures_without_classes_have_a_report(folder: Path, found: Evaluation) -> None:
    oracle, model = found.rows[0], found.rows[1]
    alone = to_html(found.model_copy(update={"rows": (oracle,)}), folder)
    assert "<h1>Real photographs on data/toy val</h1>" in alone and 'class="value best"' not in alone
    layouts = tuple(layout.model_copy(update={"agreement": None}) for layout in model.layouts)
    bare = model.model_copy(
        update={"classes": (), "confusion": (), "layouts": layouts, "numbers": {"l1": Number(value=0.1)}}
    )
    plain = to_html(found.model_copy(update={"rows": (bare,)}), folder)
    assert 'id="classes"' not in plain and 'id="confusion"' not in plain
    assert "pixels agree," not in section(plain, "Best, median and worst") and "L1 0." in plain


# --------------------------------------------------------------------------------------------------------------- pictures


def shown(html: str) -> list[tuple[str, np.ndarray]]:
    return [
        (c, np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
        for c, data in IMAGE.findall(html)
    ]


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_galleries_show_input_real_picture_and_disagreement(page: str, folder: Path, found: Evaluation) -> None:
    pictures = shown(section(page, "Best, median and worst"))
    names = [name for row in found.rows[1:] for chosen in galleries(row).values() for name in chosen]
    assert [caption for caption, _ in pictures[:4]] == ["input", "real", "pix2pix", "disagreement"]
    assert len(pictures) == 4 * len(names) == 4 * 6 * len(MODELS)  # six layouts: two of each kind
    places = [f"{place}/{names[0]}.png" for place in ("_layouts", "_real", "pix2pix", "_wrong/pix2pix")]
    originals = [read(folder / "pictures" / place).astype(int) for place in places]
    for number, (_, picture) in enumerate(pictures[:4]):
        gaps = [np.abs(picture - original).mean() for original in originals]
        assert int(np.argmin(gaps)) == number, "each caption stands under its own picture"


def test_side_by_side_shows_the_same_layouts_of_all(page: str) -> None:
    pictures = shown(section(page, "Side by side"))
    assert [caption for caption, _ in pictures] == ["input", "real", *MODELS] * 4


def test_pictures_that_are_gone_or_broken_do_not_stop_the_report(
    folder: Path, found: Evaluation, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    shutil.rmtree(copied / "pictures/SPADE")
    for path in (copied / "pictures/pix2pix").iterdir():
        path.write_bytes(b"no picture")
    html = to_html(found, copied)
    assert "No pictures were kept of SPADE." in html and html.count('<div class="none">no picture</div>') == 6
    assert 'id="side-by-side"' not in html
    assert "No pictures were kept of pix2pix." in to_html(renamed(found, pictures=""), folder)


def test_layouts_keep_their_exact_colours_and_wide_pictures_get_small(tmp_path: Path) -> None:
    layout = SPACE.colours[np.random.default_rng(0).integers(len(SPACE), size=(40, 1300))]
    Image.fromarray(layout).save(tmp_path / "wide.png")
    for source in (tmp_path / "wide.png", layout, Image.fromarray(layout)):
        data = base64.b64decode(parts.data_uri(source, exact=True).partition(",")[2])
        small = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert small.shape == (16, 512, 3)
        assert {tuple(c) for c in small.reshape(-1, 3).tolist()} <= {tuple(c) for c in SPACE.colours.tolist()}


def test_an_input_that_is_a_photograph_is_stored_as_one() -> None:
    noise = np.random.default_rng(0).integers(256, size=(64, 128, 3), dtype=np.uint8)
    assert parts.data_uri(noise, exact=True) == parts.data_uri(noise)


scores = st.none() | st.floats(0, 1) | st.just(float("nan"))


@given(st.lists(scores, max_size=40), st.lists(scores, min_size=40, max_size=40), st.integers(1, 5))
def test_galleries_are_in_order_and_name_nothing_twice(
    agreements: list[float | None], l1: list[float | None], count: int
) -> None:
    layouts = [
        LayoutScore(name=str(number), agreement=agreement, l1=distance)
        for number, (agreement, distance) in enumerate(zip(agreements, l1, strict=False))
    ]
    chosen = galleries(Row(name="row", kind="model", layouts=tuple(layouts)), count)
    names = [name for part in chosen.values() for name in part]
    assert list(chosen) == ["best", "median", "worst"] and len(names) == len(set(names))
    known = [x for x in agreements if x is not None and x == x]
    by_l1 = not known
    values = {layout.name: -(layout.l1 or 0) if by_l1 else layout.agreement for layout in layouts}
    usable = [
        x.name for x in layouts if (x.l1 if by_l1 else x.agreement) is not None and values[x.name] == values[x.name]
    ]
    assert set(names) <= set(usable)
    if len(usable) >= 3:
        assert [len(part) for part in chosen.values()] == [min(count, len(usable) // 3)] * 3
    ordered = [values[name] for name in (*chosen["best"], *chosen["median"], *reversed(chosen["worst"]))]
    assert ordered == sorted(ordered, key=lambda value: -(value or 0))
    if usable:
        assert values[chosen["best"][0]] == max(values[name] for name in usable)
    if len(usable) > 1:
        assert values[chosen["worst"][0]] == min(values[name] for name in usable)


def test_the_middle_of_a_gallery_is_the_median() -> None:
    layouts = tuple(LayoutScore(name=str(n), agreement=n / 20) for n in range(20))
    row = Row(name="row", kind="model", layouts=layouts)
    assert galleries(row, 3) == {"best": ("19", "18", "17"), "median": ("11", "10", "9"), "worst": ("0", "1", "2")}
    assert galleries(row.model_copy(update={"layouts": layouts[:1]})) == {"best": ("0",), "median": (), "worst": ()}


# --------------------------------------------------------------------------------------------------------- marks and numbers


def test_the_best_is_marked_and_what_its_interval_overlaps() -> None:
    numbers = {"real": (0.99, 0.98, 1.0), "a": (0.50, 0.45, 0.55), "b": (0.60, 0.54, 0.66), "c": (0.40, 0.35, 0.45)}
    rows = [
        row_of(name, {"mean_iou": Number(value=v, low=low, high=high)}, "oracle" if name == "real" else "model")
        for name, (v, low, high) in numbers.items()
    ]
    assert score_tables.marked(rows, "mean_iou") == {"b": "best", "a": "near"}
    cells = score_tables.column_cells(rows, "mean_iou")
    assert ['class="value best"' in cell for cell in cells] == [False, False, True, False]
    assert "<svg" not in cells[0] and all("<svg" in cell for cell in cells[1:]), "the oracle would stretch the scale"
    assert score_tables.marked(rows[:2], "mean_iou") == {}, "nothing is the best of one"
    odd = [*rows, row_of("d", {"mean_iou": Number(value=float("nan"))})]
    assert score_tables.marked(odd, "mean_iou") == {"b": "best", "a": "near"}


def test_lower_is_better_where_it_is_and_neither_where_it_is_not() -> None:
    rows = [
        row_of(name, {"frechet": Number(value=v), "diversity": Number(value=v)}) for name, v in (("a", 2.0), ("b", 1.0))
    ]
    assert score_tables.marked(rows, "frechet") == {"b": "best"}
    assert score_tables.marked(rows, "diversity") == {}
    assert "↓" in parts.heading("frechet").title and parts.heading("diversity").title == "diversity"


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (0.52149, "mean_iou", "52.1"),
        (1.0, "precision", "100.0"),
        (-0.012345, "kernel", None),
        (float("inf"), "psnr", "∞"),
        (float("-inf"), "psnr", "−∞"),
        (float("nan"), "psnr", "–"),
        (-1e-9, "frechet", "0.00"),
    ],
)
def test_values_as_text(value: float, column: str, text: str | None) -> None:
    digits = COLUMNS[column].digits
    assert parts.value_text(value, COLUMNS[column]) == (text or f"{value:.{digits}f}".replace("-", "−"))


def test_intervals_as_text() -> None:
    column = COLUMNS["mean_iou"]
    assert parts.interval_text(Number(value=0.5, low=0.45, high=0.5501), column) == "45.0 to 55.0"
    assert (
        parts.interval_text(Number(value=0.5), column)
        == parts.interval_text(Number(value=0, low=0, high=0), column)
        == ""
    )


def test_a_whisker_stands_where_its_interval_is() -> None:
    width, height = parts.WHISKER
    usable = width - height
    drawn = parts.whisker(Number(value=0.5, low=0.25, high=1.5), parts.Scale(0.0, 1.0))
    assert f'<path d="M{height / 2 + usable / 4} {height / 2}H{height / 2 + usable}"' in drawn, (
        "cut off at the end of its scale"
    )
    assert f'<circle cx="{height / 2 + usable / 2}"' in drawn
    bare = parts.whisker(Number(value=0.5), parts.Scale(0.0, 1.0))
    assert "<circle" in bare and "stroke-width" not in bare, "no interval, no bar"


def test_a_scale_spans_the_finite_intervals() -> None:
    one, two = Number(value=1, low=0.5, high=2), Number(value=3, low=2, high=3.5)
    endless, bare = Number(value=1, low=0, high=float("inf")), Number(value=9)
    assert parts.scale_of([one, two, endless, bare]) == (0.5, 3.5)
    assert parts.scale_of([one, bare]) is None
    assert parts.scale_of([Number(value=1, low=1, high=1)] * 2) is None


def test_intervals_overlap_or_not() -> None:
    one, two, three = (Number(value=v, low=v - 1, high=v + 1) for v in (0.0, 2.0, 2.5))
    assert parts.overlap(one, two) and parts.overlap(two, one) and not parts.overlap(one, three)
    assert parts.overlap(Number(value=1.0), Number(value=1.0)) and not parts.overlap(
        Number(value=1.0), Number(value=1.1)
    )
    assert parts.overlap(one, Number(value=0.5)) and not parts.overlap(one, Number(value=1.5))


# ---------------------------------------------------------------------------------------------------------------- classes


def test_bars_stand_beside_the_oracles(page: str, found: Evaluation) -> None:
    first = section(page, "Classes").split("<h3>Diversity</h3>")[0]
    car = SPACE.index("car")
    ious = [row.classes[car].iou for row in found.rows]
    block = first[first.index(">car<") :]
    widths = [
        float(width)
        for width in re.findall(r"width:([\d.]+)%;background:var\(--(?:oracle|hue\d)\)", block)[: len(ious)]
    ]
    assert widths == pytest.approx([100 * (iou or 0) for iou in ious], abs=0.05)
    assert block.index("--oracle") < block.index("--hue0") < block.index("--hue1")


def test_classes_that_no_layout_holds_are_named_and_not_drawn() -> None:
    classes = (ClassRow(name="sky", pixels=10, iou=0.5, accuracy=0.6), ClassRow(name="boat", pixels=0))
    rows = [Row(name="a", kind="model", classes=classes)]
    drawn = class_charts.bars(rows, lambda c: c.iou, str, 1.0)
    assert "sky" in drawn and "boat" not in drawn
    assert class_charts.absent(rows) == '<p class="note">Not in these layouts: boat.</p>'


def test_a_heat_map_gives_shares_of_its_rows() -> None:
    classes = tuple(ClassRow(name=name, pixels=1) for name in ("sky", "car", "boat"))
    row = Row(name="a", kind="model", classes=classes, confusion=((30, 10, 0, 0), (1, 1, 0, 2), (0, 0, 0, 0)))
    drawn = class_charts.heat_map(row)
    titles = dict(re.findall(r"<title>(.*?): ([\d.]+) %</title>", drawn))
    assert titles == {
        "sky taken for sky": "75.0",
        "sky taken for car": "25.0",
        "car taken for sky": "25.0",
        "car taken for car": "25.0",
        "car taken for nothing known": "50.0",
    }
    assert drawn.count('class="track"') == 2, "boat is in no layout"
    assert class_charts.confusions(row).startswith(
        '<p class="note">Most often mistaken: 50 % of car for nothing known, '
    )
    assert class_charts.heat_map(row.model_copy(update={"confusion": ((0, 0), (0, 0))})) == ""


# ---------------------------------------------------------------------------------------------------------------- browser


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_a_desk_in_light_and_dark(
    chromium: Browser, page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.goto((tmp_path / "page.html").as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll, in themselves"
    assert tab.evaluate(OVERFLOWING) == [], "text runs out of its box"
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth && i.clientWidth <= 320)")
    ink, paper = (
        np.mean([int(c) for c in re.findall(r"\d+", tab.evaluate(f"getComputedStyle(document.body).{name}"))[:3]])
        for name in ("color", "backgroundColor")
    )
    assert (ink > paper + 120) if scheme == "dark" else (paper > ink + 120)
    assert said == []
    context.close()
