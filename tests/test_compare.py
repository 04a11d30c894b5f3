"""Several evaluations in one table, and in none where their protocols differ."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluated import MODELS, evaluation
from gesso.errors import DataError
from gesso.evaluate.compare import compare, print_table
from gesso.evaluate.results import Evaluation, Number, Row, SegmenterFacts


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    evaluation(folder, count=3)
    return folder


@pytest.fixture
def two(measured: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same evaluation in two folders, a and b."""
    for name in ("a", "b"):
        shutil.copytree(measured, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


def change(folder: Path, **protocol: Any) -> Evaluation:
    path = folder / "evaluation.json"
    found = Evaluation.read(path)
    found = found.model_copy(update={"protocol": found.protocol.model_copy(update=protocol)})
    found.save(path)
    return found


def test_rows_of_one_protocol_share_a_table_with_one_oracle(two: tuple[Path, Path]) -> None:
    first, second = two
    found = Evaluation.read(second / "evaluation.json")
    rows = (found.rows[0], found.rows[1], found.rows[2].model_copy(update={"name": "other"}))
    found.model_copy(update={"rows": rows}).save(second / "evaluation.json")
    joined = compare([first, second / "evaluation.json"])
    names = [row.name for row in joined.evaluation.rows]
    assert names == ["real photographs", "pix2pix (a)", "pix2pixHD", "SPADE", "pix2pix (b)", "other"]
    assert joined.folders["pix2pix (a)"] == first and joined.folders["pix2pix (b)"] == second
    assert joined.remarks == ()


def test_rows_of_files_are_told_apart_by_the_file(two: tuple[Path, Path]) -> None:
    first, second = two
    other = first / "later.json"
    shutil.copy(second / "evaluation.json", other)
    names = [row.name for row in compare([first / "evaluation.json", other]).evaluation.rows]
    assert names[1] == "pix2pix (evaluation.json)" and names[4] == "pix2pix (later.json)"


def test_when_and_with_which_versions_is_no_reason_to_refuse(two: tuple[Path, Path]) -> None:
    change(two[1], created="2027-01-01T00:00:00+00:00", versions={"gesso": "0.1.0", "torch": "2.12.0"})
    joined = compare(list(two))
    assert joined.remarks == ("b was measured with other versions than a (torch 2.12.0).",)


def test_other_oracles_under_one_protocol_are_remarked(two: tuple[Path, Path]) -> None:
    found = Evaluation.read(two[1] / "evaluation.json")
    numbers = {**found.rows[0].numbers, "mean_iou": Number(value=0.123)}
    oracle = found.rows[0].model_copy(update={"numbers": numbers})
    found.model_copy(update={"rows": (oracle, *found.rows[1:])}).save(two[1] / "evaluation.json")
    (remark,) = compare(list(two)).remarks
    assert "in b than in a (mean IoU)" in remark


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", 3, "seed: 0 in a, 3 in b"),
        ("size", (64, 128), "size: 32x64 in a, 64x128 in b"),
        ("size", None, "size: 32x64 in a, none in b"),
        ("set_size", 100, "set size: 3 in a, 100 in b"),
        ("split", "test", "split: val in a, test in b"),
        ("classes", ("sky", "boat"), "2 in all, boat in b"),
        ("classes_digest", "other", "what the classes mean (file values, ignored ones, countable ones): "),
        ("size_rule", '{"resize": "scale_width", "width": 64}', "preprocessing: width 128 in a, width 64 in b"),
        ("segmenter", None, "segmenter: compact U-Net trained on toy train 1a2b3c4d in a, none in b"),
        (
            "segmenter",
            SegmenterFacts(name="other", origin="toy train, 80 photographs", scores={"mean_iou": 0.5}),
            "segmenter's name: compact U-Net trained on toy train 1a2b3c4d in a, other in b",
        ),
    ],
)
def test_numbers_of_different_protocols_never_share_a_table(
    two: tuple[Path, Path], field: str, value: object, said: str
) -> None:
    change(two[1], **{field: value})
    with pytest.raises(DataError) as error:
        compare(list(two))
    message = str(error.value)
    assert said in message and "a/evaluation.json" in message and "b/evaluation.json" in message
    assert "Run gesso evaluate again" in message and "scores" not in message


def test_each_difference_is_named_but_scores_that_follow_from_others(two: tuple[Path, Path]) -> None:
    facts = Evaluation.read(two[1] / "evaluation.json").protocol.segmenter
    assert facts is not None
    change(
        two[1],
        seed=1,
        band=5.0,
        extractor="Inception",
        segmenter=facts.model_copy(update={"scores": {"mean_iou": 0.5}}),
    )
    with pytest.raises(DataError) as error:
        compare(list(two))
    lines = [line.strip() for line in str(error.value).splitlines() if line.startswith("  ")]
    assert [line.split(":")[0] for line in lines] == ["extractor", "band", "seed"]


def test_a_name_that_looks_like_a_told_apart_one_stays_apart(two: tuple[Path, Path]) -> None:
    for folder, names in ((two[0], ("m", "m (b)")), (two[1], ("m",))):
        found = Evaluation.read(folder / "evaluation.json")
        models = [row for row in found.rows if row.kind != "oracle"][: len(names)]
        renamed = [row.model_copy(update={"name": name}) for row, name in zip(models, names, strict=True)]
        found.model_copy(update={"rows": (found.rows[0], *renamed)}).save(folder / "evaluation.json")
    names = [row.name for row in compare(list(two)).evaluation.rows]
    assert len(names) == 4 == len(set(names))


def test_a_file_of_a_later_gesso_is_refused(two: tuple[Path, Path]) -> None:
    path = two[1] / "evaluation.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99'))
    with pytest.raises(DataError, match="format version 99; this gesso reads up to 1"):
        compare(list(two))


def test_the_third_file_is_looked_at_too(two: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(two[0], tmp_path / "c")
    change(tmp_path / "c", seed=7)
    with pytest.raises(DataError, match="7 in c"):
        compare([*two, tmp_path / "c"])


def test_one_file_twice_and_files_that_are_none_are_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="given twice"):
        compare([two[0], two[0] / "evaluation.json"])
    with pytest.raises(DataError, match="cannot be read as an evaluation"):
        compare([tmp_path / "nowhere.json"])
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(DataError, match="is not an evaluation that this gesso reads"):
        compare([two[0], tmp_path / "other.json"])


# ------------------------------------------------------------------------------------------------------------ terminal


def printed(rows: list[Row] | tuple[Row, ...], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(rows, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_every_number_with_its_interval(measured: Path) -> None:
    found = Evaluation.read(measured / "evaluation.json")
    text = printed(found.rows, 200)
    line = next(line for line in text.splitlines() if "Fréchet" in line)
    assert "0.00" in line and "123.90" in line and "* 37.17" in line
    assert "111.60 to 136.20" in text and "* the best" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_narrow_terminals_get_several_tables_with_nothing_cut(measured: Path, width: int) -> None:
    found = Evaluation.read(measured / "evaluation.json")
    text = printed(found.rows, width)
    assert all(len(line) <= width for line in text.splitlines()) and "…" not in text
    for name in ("real photographs", *MODELS):
        assert name in text
    assert text.count("mean IoU") == {60: 4, 80: 2, 120: 1}[width]


def test_names_are_no_markup_and_one_model_is_not_the_best() -> None:
    text = printed([Row(name="[red]run[/red]", kind="model", numbers={"l1": Number(value=0.1)})], 80)
    assert "[red]run[/red]" in text and "*" not in text


# ------------------------------------------------------------------------------------------------------------- command


def test_the_command_prints_and_writes_a_page(gesso: Any, two: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "pages" / "comparison.html"
    ended = gesso("compare", *two, "--out", out)
    assert ended.code == 0, ended.err
    assert "pix2pix (a)" in ended.out and f"The page is {out}." in ended.out
    page = out.read_text(encoding="utf-8")
    assert "SPADE (b)" in page and page.count("data:image/webp") > 2 * 6 * 3, "pictures of both folders"


def test_the_command_says_what_differs(gesso: Any, two: tuple[Path, Path], tmp_path: Path) -> None:
    change(two[1], seed=3)
    ended = gesso("compare", *two, "-o", tmp_path / "comparison.html")
    assert ended.code == 1 and "seed: 0 in a, 3 in b" in ended.err and not (tmp_path / "comparison.html").exists()
    assert "name a file that ends in .html" in gesso("compare", *two, "-o", tmp_path / "comparison.json").err
