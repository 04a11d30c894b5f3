"""Human studies: what is asked, that it is blind, that votes are counted once, and what they are said to mean."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from gesso.errors import ConfigError, DataError
from gesso.serving import known_host
from gesso.study import design, report
from gesso.study.blinding import encode, read_pixels, read_size, spoil
from gesso.study.design import REAL, Study
from gesso.study.prepare import prepare
from gesso.study.server import HEADERS, STATIC
from gesso.study.settings import Settings, resolve
from gesso.study.statistics import binomial_p, krippendorff, wilson
from gesso.study.store import Answered, Store, Vote
from gesso.study.tally import Tally, tally
from gesso.study.trials import Trial, draw
from studied import COLOURS, SIZE, Person, ballot, likes, make_study, paint, served, served_apart
from support import refused


def designed(methods: int = 2, scenes: int = 60, **chosen: Any) -> Study:
    """A study without files."""
    names = [f"m{number}" for number in range(methods)]
    real = chosen.pop("real", False) or chosen.get("protocol") == "real-or-fake"
    return resolve((*names, *([REAL] if real else [])), [f"s{i}" for i in range(scenes)], SIZE, Settings(**chosen))


def shown(study: Study, trial: Trial) -> tuple[design.Picture, design.Picture]:
    return study.by_id[trial.left], study.by_id[trial.right]


# ------------------------------------------------------------------------------------------------------ what is asked


def test_the_protocols_numbers_are_the_papers() -> None:
    assert designed(protocol="timed").exposures == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    sitting = designed(protocol="real-or-fake")
    kinds = [trial.kind for trial in draw(sitting, 0)]
    assert kinds == ["practice"] * 10 + ["trial"] * 40
    assert {trial.exposure for trial in draw(sitting, 0)} == {1.0}
    assert {trial.exposure for trial in draw(designed(), 0)} == {None}
    assert [trial.kind for trial in draw(designed(), 0)].count("check") == 4


@given(
    methods=st.integers(2, 4),
    trials=st.integers(1, 40),
    checks=st.integers(0, 5),
    seed=st.integers(0, 99),
    number=st.integers(0, 30),
    protocol=st.sampled_from(["ab", "timed"]),
)
@settings(max_examples=40, deadline=None)
def test_comparisons_are_balanced(
    methods: int, trials: int, checks: int, seed: int, number: int, protocol: Any
) -> None:
    study = designed(methods, 40, trials=trials, checks=checks, seed=seed, protocol=protocol)
    asked = draw(study, number)
    assert draw(study, number) == asked
    counted = [trial for trial in asked if trial.kind == "trial"]
    assert (len(counted), len(asked)) == (trials, trials + checks)
    pairs: dict[Any, list[Trial]] = {pair: [] for pair in study.pairs}
    for trial in counted:
        left, right = shown(study, trial)
        assert left.scene == right.scene and not left.spoilt and not right.spoilt and trial.correct is None
        pairs[tuple(sorted((left.method, right.method)))].append(trial)
    _assert_even(len(own) for own in pairs.values())
    for pair, own in pairs.items():
        first_left = sum(shown(study, trial)[0].method == pair[0] for trial in own)
        _assert_even([first_left, len(own) - first_left])
        assert len({shown(study, trial)[0].scene for trial in own}) == len(own), "a scene twice for one pair"
        exposures = Counter(trial.exposure for trial in own)
        _assert_even(exposures[seconds] for seconds in study.exposures)
    _assert_checks(study, asked)


def _assert_even(counts: Any) -> None:
    found = list(counts)
    assert not found or max(found) - min(found) <= 1


def _assert_checks(study: Study, asked: tuple[Trial, ...]) -> None:
    """One spoilt picture each, the other one right, seen for a second at least, one check in every stretch."""
    places = [place for place, trial in enumerate(asked) if trial.kind == "check"]
    for stretch, place in enumerate(places):
        pictures = dict(zip(("left", "right"), shown(study, asked[place]), strict=True))
        right = pictures.pop(asked[place].correct or "")
        (wrong,) = pictures.values()
        assert wrong.spoilt and not right.spoilt and wrong.scene == right.scene and wrong.method != right.method
        assert asked[place].exposure is None or asked[place].exposure >= 1
        borders = [study.trials * index // study.checks for index in (stretch, stretch + 1)]
        assert borders[0] <= place - stretch <= borders[1]


def test_participants_are_asked_different_things() -> None:
    study = designed()
    rows = [tuple((trial.left, trial.right) for trial in draw(study, number)) for number in range(20)]
    assert len(set(rows)) == 20
    sides = [row[0][0] for row in rows]
    assert len({study.by_id[picture].method for picture in sides}) == 2


@pytest.mark.parametrize("unpaired", [False, True])
def test_a_sitting_is_of_one_method_and_no_scene_comes_twice(unpaired: bool) -> None:
    study = designed(3, 60, protocol="real-or-fake", checks=3, unpaired=unpaired)
    sitting_of = []
    for number in range(9):
        asked = draw(study, number)
        fakes = [picture for trial in asked for picture in shown(study, trial) if picture.method != REAL]
        reals = [picture for trial in asked for picture in shown(study, trial) if picture.method == REAL]
        assert len(fakes) == len(reals) == len(asked) == 53
        assert len({picture.scene for picture in fakes}) == len({picture.scene for picture in reals}) == 53
        sitting_of.append({picture.method for picture in fakes})
        for trial in asked:
            left, right = shown(study, trial)
            assert (left if trial.correct == "left" else right).method != REAL, "the fake one is the right answer"
            assert (left.spoilt or right.spoilt) == (trial.kind == "check")
            assert (left.scene == right.scene) == (not unpaired or trial.kind == "check")
    assert all(len(methods) == 1 for methods in sitting_of)
    for block in range(3):
        assert len(set().union(*sitting_of[3 * block : 3 * block + 3])) == 3


def test_practice_does_not_tell_what_is_asked_later() -> None:
    study = designed(1, 60, protocol="real-or-fake", unpaired=True)
    asked = draw(study, 0)
    practised = {picture.scene for trial in asked[:10] for picture in shown(study, trial)}
    assert not practised & {picture.scene for trial in asked[10:] for picture in shown(study, trial)}


# --------------------------------------------------------------------------------------------------------- blindness


def chunks(content: bytes) -> list[str]:
    """The chunk names of a PNG."""
    found, at = [], 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        found.append(content[at + 4 : at + 8].decode())
        at += 12 + length
    return found


def test_files_tell_nothing_but_pixels(tmp_path: Path) -> None:
    """Flat pictures against noise, JPEG with EXIF against PNG with text: the files of a study do not show it."""
    flat, noise = tmp_path / "flat", paint(tmp_path / "noise", "cobalt", 12, (64, 128), "jpg")
    flat.mkdir()
    for number in range(12):
        notes = Image.Exif()
        notes[0x010E] = "made by flat"
        Image.new("RGB", (128, 64), (number, 9, 9)).save(flat / f"scene{number:03}.png", exif=notes, dpi=(72, 72))
    study, remarks = prepare(tmp_path / "study", {"flat": flat, "noise": noise}, settings=Settings(size=SIZE))
    files = sorted((tmp_path / "study" / "pictures").iterdir())
    assert len(files) == len(study.pictures) == 24 + 16
    assert len({file.stat().st_size for file in files}) == 1
    assert {tuple(dict.fromkeys(chunks(file.read_bytes()))) for file in files} == {("IHDR", "IDAT", "IEND")}
    assert {len(file.stem) for file in files} == {32}
    assert [file.stem for file in files] == [picture.id for picture in study.pictures], (
        "written in the order of the ids"
    )
    assert any("JPEG" in remark for remark in remarks), (
        "what JPEG left in the pixels cannot be taken out, so it is said"
    )
    for picture in study.pictures:
        with Image.open(design.picture_file(tmp_path / "study", picture.id)) as image:
            assert image.mode == "RGB" and image.size == (64, 32) and not image.info


def test_ids_do_not_follow_from_the_seed() -> None:
    one, other = designed(seed=1), designed(seed=1)
    assert not set(one.by_id) & set(other.by_id)


@given(height=st.integers(16, 90), width=st.integers(16, 90), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_encoding_has_one_length_per_size_and_loses_nothing(height: int, width: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(256, size=(height, width, 3)).astype(np.uint8)
    assert len(encode(noise)) == len(encode(np.zeros_like(noise)))
    assert (np.asarray(Image.open(io.BytesIO(encode(noise)))) == noise).all()
    assert (spoil(noise, "x") != noise).mean() > 0.9 * (8 * (height // 8)) * (8 * (width // 8)) / (height * width)


def test_spoilt_pictures_are_half_negative() -> None:
    spoilt = spoil(np.full((64, 128, 3), 200, np.uint8), "x")
    assert sorted(np.unique(spoilt, return_counts=True)[1].tolist()) == [64 * 128 * 3 // 2] * 2
    blocks = spoilt[::8, ::16, 0]
    assert (blocks[1:] != blocks[:-1]).all() and (blocks[:, 1:] != blocks[:, :-1]).all(), "a chequered board"


def test_pictures_are_shown_upright_and_of_any_kind(tmp_path: Path) -> None:
    notes = Image.Exif()
    notes[0x0112] = 6
    picture = Image.fromarray(np.arange(32 * 64 * 3, dtype=np.uint8).reshape(32, 64, 3))
    for name, image in (
        ("turned.jpg", picture),
        ("gray.png", picture.convert("L")),
        ("palette.png", picture.convert("P")),
        ("opaque.png", picture.convert("RGBA")),
        ("bits.png", picture.convert("1")),
    ):
        image.save(tmp_path / name, **({"exif": notes} if name == "turned.jpg" else {}))
        size = (64, 32) if name == "turned.jpg" else (32, 64)
        assert read_size(tmp_path / name) == size
        assert read_pixels(tmp_path / name, size).shape == (*size, 3)


# --------------------------------------------------------------------------------------------------------- bad input


def bad(tmp_path: Path, **changes: Any) -> tuple[Path, dict[str, Path], Path | None, Settings]:
    """Arguments of prepare: 6 scenes, and what was changed."""
    real = changes.pop("real", None)
    folders = {name: paint(tmp_path / name, name, 6) for name in ("amber", "cobalt")}
    return tmp_path / "study", folders, real and paint(tmp_path / real, "real", 6), Settings(**changes)


def test_a_study_that_is_right_is_made(tmp_path: Path) -> None:
    study, remarks = prepare(*bad(tmp_path, real="photographs"))
    assert study.methods == ("amber", "cobalt", "real") and remarks == []
    assert design.load(tmp_path / "study") == study
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["pictures", "study.json", "study.sqlite"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_unequal_names_are_refused(tmp_path: Path) -> None:
    out, folders, real, chosen = bad(tmp_path)
    (folders["cobalt"] / "scene003.png").rename(folders["cobalt"] / "other.png")
    with pytest.raises(DataError, match=r"amber lacks 1 of 7 pictures .* such as other .*cobalt/other.png"):
        prepare(out, folders, real, chosen)
    assert not out.exists()


def test_one_scene_is_refused(tmp_path: Path) -> None:
    folders = {name: paint(tmp_path / name, name, 1) for name in ("amber", "cobalt")}
    with pytest.raises(DataError, match="one picture alone, scene000"):
        prepare(tmp_path / "study", folders)


def test_unequal_sizes_are_refused_unless_a_size_is_chosen(tmp_path: Path) -> None:
    out, folders, _, _ = bad(tmp_path)
    paint(folders["cobalt"], "cobalt", 1, (64, 128))
    with pytest.raises(DataError, match=r"most are 32x64, .*scene000.png is 64x128.* --size 32x64"):
        prepare(out, folders)
    study, remarks = prepare(out, folders, settings=Settings(size=(48, 96)))
    assert study.size == (48, 96) and "resizing" in remarks[0]


def test_another_shape_is_refused_at_any_size(tmp_path: Path) -> None:
    out, folders, _, _ = bad(tmp_path)
    paint(folders["cobalt"], "cobalt", 1, (64, 64))
    with pytest.raises(DataError, match=r"amber/scene000.png is 32x64 and .*cobalt/scene000.png is 64x64"):
        prepare(out, folders, settings=Settings(size=(48, 96)))


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    out, folders, _, _ = bad(tmp_path)
    file = folders["amber"] / "scene002.png"
    whole = file.read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"scene002.png cannot be read as a picture"):
            prepare(out, folders)
        assert not out.exists()
    Image.new("RGBA", (64, 32), (0, 0, 0, 100)).save(file)
    with pytest.raises(DataError, match=r"scene002.png is partly transparent"):
        prepare(out, folders)
    Image.new("I;16", (64, 32)).save(file)
    with pytest.raises(DataError, match=r"scene002.png has pixels of the kind I;16"):
        prepare(out, folders)


def test_the_same_pictures_are_refused_and_some_are_remarked(tmp_path: Path) -> None:
    out, folders, _, _ = bad(tmp_path)
    twin = paint(tmp_path / "twin", "amber", 6)
    with pytest.raises(DataError, match="amber and twin hold the same pictures"):
        prepare(out, {"amber": folders["amber"], "twin": twin})
    with pytest.raises(ConfigError, match="amber and again are the same folder"):
        prepare(out, {"amber": folders["amber"], "again": tmp_path / "twin" / ".." / "amber"})
    paint(twin, "cobalt", 5)
    _, remarks = prepare(out, {"amber": folders["amber"], "twin": twin})
    assert remarks == ["1 pictures of amber and twin are the same, such as scene005: answers there are chance."]


def test_other_folders_that_make_no_study(tmp_path: Path) -> None:
    out, folders, _, _ = bad(tmp_path)
    (tmp_path / "empty").mkdir()
    cases: list[tuple[dict[str, Path], Path | None, type[Exception], str]] = [
        ({"amber": folders["amber"]}, None, ConfigError, "at least two folders"),
        ({"amber": folders["amber"], "none": tmp_path / "none"}, None, DataError, "none does not exist"),
        ({"amber": folders["amber"], "empty": tmp_path / "empty"}, None, DataError, "empty holds no picture"),
        ({"amber": folders["amber"], "real": folders["cobalt"]}, None, ConfigError, "name of --real"),
    ]
    for methods, real, kind, said in cases:
        with pytest.raises(kind, match=said):
            prepare(out, methods, real)
    (folders["amber"] / "scene000.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"scene000.jpg and .*scene000.png have the same name"):
        prepare(out, folders)
    out.mkdir()
    (out / "answers").touch()
    with pytest.raises(ConfigError, match="study exists already"):
        prepare(out, folders)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"protocol": "real-or-fake", "size": SIZE}, "10 practice trials, 40 trials and 0 checks need more than the 6"),
        ({"protocol": "real-or-fake", "trials": 4, "practice": 1, "size": SIZE, "unpaired": True}, "--unpaired needs"),
        ({"trials": 19}, "--trials 19 need more than the 6 scenes .* --trials 18 or fewer"),
        ({"trials": 0}, "--trials 0"),
        ({"checks": 7}, "--checks 7 needs as many scenes"),
        ({"checks": -1}, "--checks -1"),
        ({"practice": 3}, "--practice is for real-or-fake"),
        ({"unpaired": True}, "--unpaired is for real-or-fake"),
        ({"exposures": (1.0,)}, "--exposures is for the protocol timed"),
        ({"protocol": "timed", "exposures": (0.0,)}, "--exposures are seconds"),
        ({"protocol": "timed", "exposures": ()}, "--exposures are seconds"),
        ({"protocol": "timed", "exposures": (float("nan"),)}, "--exposures are seconds"),
        ({"size": (8, 8)}, "shown at 8x8: choose a --size"),
        ({"size": (5000, 9000)}, "shown at 5000x9000"),
    ],
)
def test_numbers_that_make_no_study(tmp_path: Path, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(*bad(tmp_path, real="photographs", **chosen))


def test_real_or_fake_needs_real_and_squares(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--real FOLDER"):
        prepare(*bad(tmp_path, protocol="real-or-fake"))
    with pytest.raises(DataError, match=r"at 256x256, but most are 32x64 .* --size 256x512"):
        prepare(*bad(tmp_path, protocol="real-or-fake", real="photographs"))


def test_a_damaged_study_is_refused(tmp_path: Path, gesso: Any) -> None:
    study = make_study(tmp_path, 6)
    picture = next((study / "pictures").iterdir())
    content = picture.read_bytes()
    picture.unlink()
    refused(gesso("study", "serve", study), "lacks 1 of its 24 pictures", picture.name)
    picture.write_bytes(content)
    text = (study / "study.json").read_text()
    (study / "study.json").write_text(text.replace('"protocol": "ab"', '"protocol": "abc"'))
    refused(gesso("study", "tally", study), "study.json cannot be read: protocol")
    (study / "study.json").write_text("{")
    refused(gesso("study", "tally", study), "study.json cannot be read")
    (study / "study.json").write_text(text)
    (study / "study.sqlite").write_bytes(b"no database" * 99)
    refused(gesso("study", "tally", study), "study.sqlite cannot be used (file is not a database)")
    refused(gesso("study", "serve", study), "study.sqlite cannot be used")
    (study / "study.sqlite").unlink()
    refused(gesso("study", "tally", study), "study.sqlite is missing")
    refused(gesso("study", "tally", tmp_path), "is not a study")


# -------------------------------------------------------------------------------------------------------- statistics


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_wilson_is_scipys(confidence: float) -> None:
    for count in (1, 2, 7, 40, 1000):
        for wins in {0, 1, count // 3, count // 2, count - 1, count}:
            theirs = binomtest(wins, count).proportion_ci(confidence, method="wilson")
            assert wilson(wins, count, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5), "Newcombe 1998, table I"


@given(count=st.integers(1, 60), data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_binomial_test_sums_what_is_as_unlikely(count: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, count))
    as_unlikely = sum(comb(count, k) for k in range(count + 1) if comb(count, k) <= comb(count, wins))
    assert binomial_p(wins, count) == pytest.approx(as_unlikely / 2**count)


def test_agreement_of_krippendorffs_own_example() -> None:
    """Four observers, twelve units, missing values: alpha 0.743 for nominal data (Krippendorff 2011)."""
    rows = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    units = [[row[place] for row in rows if row[place] != "."] for place in range(12)]
    assert krippendorff(units) == pytest.approx(0.743, abs=5e-4)


def test_agreement_by_hand() -> None:
    assert krippendorff([[1, 1], [0, 0], [1, 1]]) == 1
    # two units of two, one split: observed 1/2, expected 2 * 3 * 1 / (4 * 3) = 1/2
    assert krippendorff([[1, 0], [1, 1]]) == pytest.approx(0)
    # all split: observed 1, expected 2 * 2 * 2 / (4 * 3) = 2/3
    assert krippendorff([[1, 0], [0, 1]]) == pytest.approx(1 - 1 / (2 / 3))
    assert krippendorff([[1], [0]]) is None, "nobody saw what another saw"
    assert krippendorff([[1, 1], [1, 1]]) is None, "there was nothing to agree about"


def test_agreement_of_chance_is_none() -> None:
    ratings = np.random.default_rng(3).integers(2, size=(2000, 5)).tolist()
    assert krippendorff(ratings) == pytest.approx(0, abs=0.02)


# ------------------------------------------------------------------------------------------------------------- tally


def answer(study: Study, who: int, place: int, trial: Trial, side: Any, showings: int = 1) -> Answered:
    pictures = {"ab": 0, "timed": 1, "real-or-fake": 2}[study.protocol]
    shown_ms = (1000 * (trial.exposure or 0),) * pictures
    return Answered(who, place, trial, Vote(side, "0" * 24, shown_ms, 16.7, 300.0), showings)


def prefer(study: Study, trial: Trial, method: str) -> str:
    """The side of a method; of a check the right answer; else left."""
    return trial.correct or ("right" if shown(study, trial)[1].method == method else "left")


def answered(study: Study, people: int, method: str) -> list[Answered]:
    return [
        answer(study, who, place, trial, prefer(study, trial, method))
        for who in range(people)
        for place, trial in enumerate(draw(study, who))
    ]


def counted(study: Study, answers: list[Answered], **options: Any) -> Tally:
    total = study.trials + study.practice + study.checks
    done = Counter(a.participant for a in answers)
    return tally(study, answers, [(done[who], total) for who in range(max(done) + 1)], **options)


def test_preferences_are_counted_for_the_first_of_a_pair() -> None:
    study = designed(3, 40, trials=30)
    found = counted(study, answered(study, 3, "m1"))
    shares = {(pair.first, pair.second): (pair.all.wins, pair.all.votes) for pair in found.pairs}
    assert shares[("m0", "m1")] == (0, 30) and shares[("m1", "m2")] == (30, 30)
    assert shares[("m0", "m2")][1] == 30
    first = found.pairs[0]
    theirs = binomtest(0, 30)
    assert (first.all.low, first.all.high) == pytest.approx(tuple(theirs.proportion_ci(method="wilson")))
    assert first.all.p == pytest.approx(theirs.pvalue)
    assert (found.enrolled, found.complete, found.silent, found.excluded, found.votes) == (3, 3, 0, 0, 90)


def test_who_fails_checks_is_left_out() -> None:
    study = designed(trials=20, checks=4)
    answers = answered(study, 2, "m0")
    failed = next(place for place, a in enumerate(answers) if a.participant == 1 and a.trial.kind == "check")
    other: Any = "right" if answers[failed].trial.correct == "left" else "left"
    answers[failed] = replace(answers[failed], vote=replace(answers[failed].vote, side=other))
    strict = counted(study, answers)
    assert (strict.excluded, strict.votes) == (1, 20)
    assert [(p.number, p.failed, p.checks, p.counted) for p in strict.participants] == [
        (0, 0, 4, True),
        (1, 1, 4, False),
    ]
    assert counted(study, answers, slips=1).votes == 40
    with pytest.raises(DataError, match="1 of 1 participants failed more than 0"):
        counted(study, [replace(a, participant=0) for a in answers if a.participant == 1])


def test_wrong_and_repeated_exposures_are_left_out() -> None:
    study = designed(protocol="timed", trials=14, checks=0, exposures=(0.125, 1.0))
    answers = answered(study, 1, "m0")
    long = next(place for place, a in enumerate(answers) if a.trial.exposure == 1.0)
    short = [place for place, a in enumerate(answers) if a.trial.exposure == 0.125]
    changes = {long: 1090.0, short[0]: 125 + 16.7, short[1]: 125 + 33.4}
    for place, measured in changes.items():
        answers[place] = replace(answers[place], vote=replace(answers[place].vote, shown_ms=(measured,)))
    answers[short[2]] = replace(answers[short[2]], showings=2)
    found = counted(study, answers)
    assert found.exposures is not None
    assert (found.exposures.missed, found.exposures.repeated, found.votes) == (1, 1, 12)
    assert found.exposures.largest_error_ms == pytest.approx(90)
    assert {seconds: share.votes for seconds, share in found.pairs[0].by_exposure} == {0.125: 5, 1.0: 7}


def test_trials_of_unlimited_time_may_be_shown_again() -> None:
    study = designed(trials=6, checks=0)
    answers = [replace(a, showings=5) for a in answered(study, 1, "m0")]
    assert counted(study, answers).votes == 6


def test_fooled_is_who_took_the_real_one_for_the_fake() -> None:
    study = designed(1, 60, protocol="real-or-fake")
    row = draw(study, 0)
    sides = [trial.correct for trial in row]
    wrong = {place for place in range(10, 50) if place % 4 == 0} | {0, 1, 2}  # practice is not counted
    swap = {"left": "right", "right": "left"}
    answers = [
        answer(study, 0, place, trial, swap[side or ""] if place in wrong else side)
        for place, (trial, side) in enumerate(zip(row, sides, strict=True))
    ]
    found = counted(study, answers)
    (pair,) = found.pairs
    assert (pair.first, pair.all.wins, pair.all.votes) == ("m0", 10, 40)
    assert "fewer" in report.remarks(study, found)[-1], "about 50 participants are advised"


def test_agreement_is_between_participants_on_the_same_pictures() -> None:
    study = designed(2, 10, trials=10, checks=0)
    assert counted(study, answered(study, 4, "m0")).pairs[0].agreement is None, "all the same"
    half = [
        answer(study, who, place, trial, prefer(study, trial, f"m{int(shown(study, trial)[0].scene[1:]) % 2}"))
        for who in range(4)
        for place, trial in enumerate(draw(study, who))
    ]
    (pair,) = counted(study, half).pairs
    assert (pair.agreement, pair.shared) == (pytest.approx(1.0), 10)


def test_an_empty_study_and_odd_settings_are_refused(tmp_path: Path, gesso: Any) -> None:
    study = make_study(tmp_path, 4, checks=0)
    refused(gesso("study", "tally", study), "There are no answers yet", "gesso study serve")
    with pytest.raises(ConfigError, match="--slips -1"):
        tally(design.load(study), [], [], slips=-1)
    with pytest.raises(ConfigError, match="--confidence 1"):
        tally(design.load(study), [], [], confidence=1.0)
    refused(gesso("study", "tally", study, "-o", tmp_path / "report.txt"), "ends in .html")


def test_the_report_needs_nothing_else_and_escapes_names() -> None:
    study = designed(2, 40, protocol="timed", title="<b>Streets & co</b>", real=True)
    found = counted(study, answered(study, 4, REAL))
    page = report.to_html(study, found)
    assert "<b>Streets" not in page and "&lt;b&gt;Streets &amp; co" in page
    assert "http" not in page and "src=" not in page and "<script" not in page
    assert page.count("<polyline") == len(study.pairs) == 3
    assert all(f">{mark}</text>" in page for mark in ("1/8", "1/2", "8", "50 %"))
    numbers = json.loads(report.to_json(study, found))
    assert numbers["protocol"]["exposures"] == list(study.exposures)
    assert numbers["pairs"][1]["all"]["wins"] == 0 and numbers["pairs"][1]["second"] == REAL
    assert "pictures" not in numbers["protocol"]


# ------------------------------------------------------------------------------------------------------------ server


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path, 12, trials=8, checks=2)


@pytest.fixture
def address(study: Path) -> Iterator[str]:
    with served(study) as found:
        yield found


def votes(study: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(study / "study.sqlite")) as connection:
        return connection.execute("SELECT participant, position, side FROM votes ORDER BY 1, 2").fetchall()


def test_a_vote_replayed_is_counted_once(study: Path, address: str) -> None:
    with Person(address) as person:
        showing = person.show(0)
        assert person.vote(0, "left", showing).json() == {"counted": True}
        assert person.vote(0, "left", showing).json() == {"counted": False}
        changed = person.vote(0, "right", showing)
        assert changed.status_code == 409 and "answered already" in changed.json()["detail"]
        assert person.next()["position"] == 1
    assert votes(study) == [(0, 0, "left")]


def test_many_copies_of_a_vote_at_once_are_one(study: Path, address: str) -> None:
    with Person(address) as person:
        showing = person.show(0)
        answers: list[httpx.Response] = []
        threads = [threading.Thread(target=lambda: answers.append(person.vote(0, "left", showing))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(a.json()["counted"] for a in answers) == [False] * 7 + [True]
    assert votes(study) == [(0, 0, "left")]


def test_forged_votes_are_refused(study: Path, address: str) -> None:
    with Person(address) as person, Person(address) as other:
        showing, foreign = person.show(0), other.show(0)
        path = "/api/trials/0/vote"
        good = ballot("left", showing)
        cases: list[tuple[int, httpx.Response]] = [
            (401, person.post(path, good, **{"X-Participant": "nobody"})),
            (423, person.post(path, good, **{"X-Tab": other.tab})),
            (423, person.post(path, good, **{"X-Tab": ""})),
            (409, person.vote(0, "left", "0" * 24)),  # a showing that never was
            (409, person.vote(0, "left", foreign)),  # another participant's
            (409, person.vote(1, "left", showing)),  # not shown yet
            (409, person.vote(9, "left", showing)),
            (404, person.vote(10, "left", showing)),  # there are ten
            (422, person.post("/api/trials/-1/vote", good)),
            (422, person.post(f"/api/trials/{2**70}/vote", good)),
            (422, person.vote(0, "middle", showing)),
            (422, person.vote(0, "left", showing, (125.0,))),  # unlimited time has no exposure
            (422, person.vote(0, "left", "../../x")),
            (422, person.post(path, {**good, "method": "amber"})),
            (422, person.post(path, {**good, "response_ms": -1})),
            (422, person.post(path, {**good, "side": ["left"]})),
            (409, person.post("/api/trials/1/showings", {"showing": "0" * 24})),  # not the next one
            (403, person.get("/api/trials/2/left")),  # pictures two ahead
            (422, person.get("/api/trials/0/middle")),
            (403, person.post(path, good, Origin="http://evil.example")),
            (403, person.post(path, good, Origin="")),
            (413, person.post(path, {**good, "showing": "0" * 5000})),
            (422, httpx.post(address + path, json=good, headers={"Origin": address})),  # no token at all
        ]
        for number, (status, response) in enumerate(cases):
            assert response.status_code == status, f"case {number}: {response.status_code} {response.text}"
    assert votes(study) == []


def test_two_tabs_of_one_participant_are_one(study: Path, address: str) -> None:
    with Person(address) as person:
        old_tab, old_showing = person.tab, person.show(0)
        person.open_tab()
        new_tab = person.tab
        assert person.vote(0, "left", person.show(0)).json() == {"counted": True}
        person.tab = old_tab
        refusal = person.vote(0, "right", old_showing)
        assert refusal.status_code == 423 and "another tab" in refusal.json()["detail"]
        assert person.get("/api/trials").status_code == 423
        person.tab = new_tab
        assert person.next()["position"] == 1
    assert votes(study) == [(0, 0, "left")]


def test_a_showing_sent_twice_is_one_and_there_are_not_endless_ones(study: Path, address: str) -> None:
    with Person(address) as person:
        for _ in range(2):
            answer = person.post("/api/trials/0/showings", {"showing": "a" * 24})
            assert answer.json() == {"showing": "a" * 24}
        assert person.vote(0, "left", "a" * 24).json()["counted"]
        assert Store(study / "study.sqlite").answers()[0].showings == 1
        for _ in range(50):
            person.show(1)
        assert person.post("/api/trials/1/showings", {"showing": "b" * 24}).status_code == 429


def test_nothing_sent_to_a_participant_names_a_method(study: Path, address: str) -> None:
    with Person(address) as person:
        sent = [person.get(f"/{name}") for name in ("", *STATIC) if name != "index.html"]
        sent += [person.get("/api/study"), person.get("/api/trials"), person.post("/api/participants")]
        pictures = [person.get(f"/api/trials/{place}/{side}") for place in (0, 1) for side in ("left", "right")]
        sent += [*pictures, person.post("/api/trials/0/showings", {"showing": "c" * 24})]
        sent += [person.vote(0, "left", "c" * 24)]
    assert {response.status_code for response in sent} == {200}
    made = design.load(study)
    secrets_ = [*COLOURS, *(picture.id for picture in made.pictures), *made.scenes, "spoilt", "check"]
    for response in sent:
        if not str(response.url).endswith((".js", ".css")):
            text = response.content + repr(response.headers).encode()
            assert [word for word in secrets_ if word.encode() in text] == [], response.url
    headers = [{k: v for k, v in picture.headers.items() if k != "date"} for picture in pictures]
    assert all(header == headers[0] for header in headers), "size and headers are those of any picture"
    assert not {"etag", "last-modified"} & set(headers[0])


def test_no_path_of_a_browser_is_opened(study: Path, address: str) -> None:
    with Person(address) as person:
        for path in (
            "/study.json",
            "/study.sqlite",
            "/../study.json",
            "/%2e%2e/study.json",
            "/static/../study.json",
            f"/pictures/{design.load(study).pictures[0].id}.png",
            "/api/trials/0/..%2F..%2Fstudy.json",
            "/docs",
            "/openapi.json",
        ):
            assert person.get(path).status_code in (404, 422), path


def test_every_answer_has_the_guarding_headers(address: str) -> None:
    with Person(address) as person:
        for response in (person.get("/"), person.get("/nothing"), person.get("/", Host="evil.example")):
            assert HEADERS.items() <= {k.title(): v for k, v in response.headers.items()}.items()
        policy = person.get("/").headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert person.get("/", Host="evil.example").status_code == 421


def test_hosts() -> None:
    for host in ("localhost", "localhost:8765", "127.0.0.1:80", "192.168.0.7", "[::1]:80", "[::1]", "LOCALHOST"):
        assert known_host(host, ())
    for host in ("", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "lab", "[::1"):
        assert not known_host(host, ())
    assert known_host("lab.example:8765", ("lab.example",))


def test_the_page_names_nothing_outside_and_its_modules_are_short() -> None:
    folder = Path(design.__file__).parent / "static"
    assert {path.name for path in folder.iterdir()} == set(STATIC)
    for path in folder.iterdir():
        text = path.read_text()
        assert text.count("\n") <= 300
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "") or path.suffix == ".js"
        assert "https:" not in text and "style=" not in text and "eval(" not in text and "innerHTML" not in text


# ------------------------------------------------------------------------------------------- nothing lost, and the whole


@pytest.mark.long
def test_a_server_killed_while_votes_arrive_loses_none(study: Path) -> None:
    """Four people vote as fast as they can; the server is killed; what was acknowledged is there, the rest is sent again."""
    people: list[Person] = []
    acknowledged: list[set[tuple[int, str]]] = [set() for _ in range(4)]
    pending: list[tuple[int, str, str] | None] = [None] * 4

    def hurry(index: int) -> None:
        person = people[index]
        try:
            for position in range(10):
                side = ("left", "right")[(position + index) % 2]
                pending[index] = (position, side, person.show(position))
                assert person.vote(*pending[index]).json()["counted"]
                acknowledged[index].add((position, side))
                pending[index] = None
        except httpx.HTTPError:
            return

    with served_apart(study) as (address, process):
        people += [Person(address).__enter__() for _ in range(4)]
        threads = [threading.Thread(target=hurry, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        while sum(map(len, acknowledged)) < 12:
            assert any(thread.is_alive() for thread in threads)
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    kept = votes(study)
    numbers = {person.token: number for number, person in enumerate(people)}
    assert len(kept) == len({row[:2] for row in kept}) < 40
    with closing(sqlite3.connect(study / "study.sqlite")) as connection:
        order = dict(connection.execute("SELECT token, number FROM participants").fetchall())
    for person, done in zip(people, acknowledged, strict=True):
        assert done <= {(position, side) for who, position, side in kept if who == order[person.token]}
    with served_apart(study) as (address, _):
        for person in people:
            unsent = pending[numbers[person.token]]
            person.client.close()
            person.client = httpx.Client(base_url=address, headers={"Origin": address}, timeout=30)
            if unsent:
                answer = person.vote(*unsent)
                assert answer.status_code == 200 or "not shown" in answer.text
            person.take_part(lambda left, right: "left")
            person.client.close()
    assert [row[:2] for row in votes(study)] == list(itertools.product(range(4), range(10)))


def test_a_process_killed_within_a_transaction_leaves_the_earlier_votes(study: Path) -> None:
    file = study / "study.sqlite"
    with served(study) as address, Person(address) as person:
        person.take_part(likes(1.0, 0), at_most=3)
        showing = person.show(3)
    before = votes(study)
    script = f"""
        import os, signal
        from pathlib import Path
        from gesso.study.store import Store
        with Store(Path({str(file)!r}))._open(writing=True) as connection:
            row = (0, 3, "left", {showing!r}, "[]", 16.7, 1.0, 1.0)
            connection.execute("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert votes(study) == before and len(before) == 3
    with served(study) as address:
        person.client = httpx.Client(base_url=address, headers={"Origin": address})
        assert person.vote(3, "left", showing).json() == {"counted": True}
        person.client.close()


def test_known_preferences_are_recovered_over_http(tmp_path: Path) -> None:
    study = make_study(tmp_path, 30, protocol="timed", real=True, trials=45, checks=2)
    with served(study) as address:
        for number in range(2):
            with Person(address) as person:
                person.take_part(likes(0.7, number))
    store = Store(study / "study.sqlite")
    found = tally(design.load(study), store.answers(), store.sizes())
    assert (found.complete, found.excluded, found.votes) == (2, 0, 90)
    for pair in found.pairs[:2]:  # amber over cobalt, amber over real
        assert pair.all.low <= 0.7 <= pair.all.high and pair.all.votes == 30
    assert found.exposures is not None and found.exposures.largest_error_ms == 0


def test_the_share_of_fooled_is_recovered(tmp_path: Path) -> None:
    study = make_study(tmp_path, 30, protocol="real-or-fake", trials=15, practice=2, checks=1)
    fooled = {"amber": 0.2, "cobalt": 0.0}
    with served(study) as address:
        for number in range(4):
            with Person(address) as person:
                method = next(m for m in (person.look(0, "left"), person.look(0, "right")) if m != "real")
                person.take_part(_detective(fooled[method], number))
    store = Store(study / "study.sqlite")
    found = {pair.first: pair.all for pair in tally(design.load(study), store.answers(), store.sizes()).pairs}
    assert found["cobalt"].wins == 0 and found["cobalt"].votes == found["amber"].votes == 30
    assert found["amber"].low <= 0.2 <= found["amber"].high and found["amber"].p < 0.05


def _detective(fooled: float, seed: int) -> Any:
    """Takes the real picture for the fake in so large a share; sees when a picture is spoilt."""
    likes_real = likes(fooled, seed, "real")
    return lambda left, right: (
        ("left" if left == "spoilt" else "right") if "spoilt" in (left, right) else likes_real(left, right)
    )


def test_practice_is_told_the_truth_and_nothing_else_is(tmp_path: Path) -> None:
    study = make_study(tmp_path, 12, protocol="real-or-fake", trials=3, practice=2)
    with served(study) as address, Person(address) as person:
        for position in range(5):
            fake = "right" if person.look(position, "left") == "real" else "left"
            told = person.vote(position, "left", person.show(position), (1000.0, 1000.0)).json()
            assert told == {"counted": True, **({"correct": fake} if position < 2 else {})}


# ------------------------------------------------------------------------------------------------------ command line


def test_the_commands_make_a_study_and_count_it(tmp_path: Path, gesso: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one/photographs", "two/photographs"):
        paint(tmp_path / name, "amber" if name.startswith("one") else "cobalt", 8)
    made = gesso("study", "new", "one/photographs", "two/photographs", "-o", "study", "--checks", 2, "--seed", 5)
    assert made.code == 0, made.err
    assert "study: ab, one/photographs, two/photographs; 8 scenes at 32x64; each participant gets 8 trials" in made.out
    assert "gesso study serve study" in made.out
    with served(tmp_path / "study", kiosk=True) as address, Person(address) as person:
        assert person.client.get("/api/study").json()["kiosk"] is True
        person.take_part(likes(1.0, 0))
    told = gesso("study", "tally", "study", "--confidence", "0.9")
    assert told.code == 0, told.err
    assert "one/photographs over two/photographs" in told.out and "100.0 %" in told.out and "90 % interval" in told.out
    numbers = json.loads((tmp_path / "study" / "report.json").read_text())
    assert numbers["pairs"][0]["all"] == pytest.approx(
        {"wins": 8, "votes": 8, "share": 1.0, "low": 0.7472, "high": 1.0, "p": 2 / 256}, abs=1e-4
    )
    assert (tmp_path / "study" / "report.html").read_text().startswith("<!doctype html>")


def test_names_and_exposures_of_the_command_line(tmp_path: Path, gesso: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("amber", "cobalt"):
        paint(tmp_path / name, name, 14)
    timed = ("--protocol", "timed", "--exposures", "1/8, 2,0.5", "-o", "timed")
    assert gesso("study", "new", "ours=amber", "cobalt", *timed).code == 0
    made = design.load(tmp_path / "timed")
    assert made.methods == ("ours", "cobalt") and made.exposures == (0.125, 0.5, 2.0)
    refused(gesso("study", "new", "x=amber", "x=cobalt"), "'x=cobalt' gives no new name")
    refused(gesso("study", "new", "cobalt=amber", "cobalt"), "Two methods would be called 'cobalt'")
    refused(gesso("study", "new", "amber", "cobalt", "--protocol", "timed", "--exposures", "1/0"), "'1/0'")
    refused(gesso("study", "new", "amber", "cobalt", "--size", "big"), "HEIGHTxWIDTH")
    refused(gesso("study", "new", "amber", "amber"), "amber is given twice")
    refused(gesso("study", "new", "amber", "cobalt", "-o", "timed"), "timed exists already")


def test_an_address_that_is_taken_is_said(study: Path, gesso: Any, address: str) -> None:
    port = address.rsplit(":", 1)[1]
    refused(gesso("study", "serve", study, "--port", port), f"--port {port}", "give another port")
    refused(gesso("study", "serve", study, "--port", 99999), "--port 99999")
    refused(gesso("study", "serve", study, "--host", "203.0.113.7"), "--host 203.0.113.7")


def test_ctrl_c_ends_serving_quietly(study: Path) -> None:
    with served_apart(study) as (address, process):
        assert httpx.get(address).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)


def test_without_the_web_extra_it_is_said_what_to_install(
    study: Path, gesso: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "gesso.study.server")
    refused(gesso("study", "serve", study), "fastapi, which is not installed: pip install 'gesso[web]'")


def test_studies_need_no_torch() -> None:
    script = "import sys, gesso.study.server, gesso.study.prepare, gesso.study.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
