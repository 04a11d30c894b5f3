"""Sessions of editing: soon and nearly right, then exact, and told how far the former was off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gesso.errors import ConfigError, LabelError
from gesso.synthesis.edit_session import EditingSession, difference
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load
from styled import CAR, ROAD, clusters, write_styled_model
from whole_styled import write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
Ints = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def synth(tiny_model: Path) -> Synthesizer:
    return load(tiny_model, "cpu")


@pytest.fixture
def session(synth: Synthesizer) -> EditingSession:
    return synth.editing_session()


def layout(size: tuple[int, int] = (96, 160)) -> Ints:
    label = np.zeros(size, dtype=np.int64)
    label[size[0] // 2 :] = 1
    label[30:50, 20:60] = 4
    return label


def edited(label: Ints, top: int = 70, left: int = 90, side: int = 8) -> Ints:
    label = label.copy()
    label[top : top + side, left : left + side] = 5
    return label


@pytest.mark.parametrize("size", [(96, 160), (93, 150)])
def test_whole_photographs_are_the_synthesizers(
    session: EditingSession, synth: Synthesizer, size: tuple[int, int]
) -> None:
    label = layout(size)
    assert np.array_equal(session.render(label), synth(label))
    found = session.edited(edited(label))
    assert found.picture.shape == (*size, 3) and found.mode == "cached"
    again = session.edited(label)
    assert again.mode == "cached" and again.computed == 0 and again.estimate == 0
    assert np.array_equal(again.picture, synth(label))


@pytest.mark.parametrize("mode", ["cached", "renewed"])
def test_an_edit_then_the_exact_photograph(session: EditingSession, synth: Synthesizer, mode: str) -> None:
    label, after = layout(), edited(layout())
    before = session.render(label)
    found = session.edited(after, mode=mode)  # type: ignore[arg-type]
    exact = session.render(after)
    assert np.array_equal(exact, synth(after))
    assert found.mode == mode and 0 < found.computed < 1 and found.estimate > 0
    assert session.measured == difference(found.picture, exact)
    assert session.measured.mean < difference(before, exact).mean  # nearer than no edit at all
    session.render(after)
    assert session.measured is None


def test_renewed_without_tolerance_is_exact(session: EditingSession) -> None:
    session.render(layout())
    found = session.edited(edited(layout()), mode="renewed", tolerance=0)
    gap = difference(found.picture, session.render(edited(layout())))
    assert found.mode == "renewed" and gap.largest <= 1


def test_another_size_is_another_picture(session: EditingSession, synth: Synthesizer) -> None:
    session.render(layout())
    other = layout((64, 128))
    found = session.edited(other)
    assert found.mode == "full" and np.array_equal(found.picture, synth(other))
    assert session.edited(edited(other, 50, 70)).mode == "cached"  # which is remembered instead


def test_whole_layouts_are_rendered_whole(session: EditingSession, synth: Synthesizer) -> None:
    session.render(layout())
    found = session.edited(layout() + 1)
    assert found.mode == "full" and found.computed == 1 and found.estimate == 0
    assert np.array_equal(found.picture, synth(layout() + 1))


def test_memory_is_told_and_given_back(session: EditingSession) -> None:
    assert session.bytes == 0
    session.render(layout())
    small = session.bytes
    session.render(layout((192, 320)))
    assert 3.5 * small < session.bytes < 4.5 * small  # of one picture, not of all
    session.forget()
    assert session.bytes == 0 and session.edited(layout()).mode == "full"


def test_models_share_nothing(synth: Synthesizer, tiny_model: Path) -> None:
    one, other = synth.editing_session(), load(tiny_model, "cpu").editing_session()
    one.render(layout())
    assert other.edited(edited(layout())).mode == "full"


def test_another_style_is_seen(tmp_path: Path) -> None:
    synth = load(write_styled_model(tmp_path / "styled.safetensors", styles=clusters()), "cpu")
    session, label = synth.editing_session(), layout()
    label[label == 1] = ROAD
    label[60:66, 100:106] = CAR  # seen in less than half of what the residual blocks see
    first, car, road = (Style(classes={"road": road, "car": car}) for road, car in ((0, 0), (0, 1), (1, 0)))
    session.render(label, style=first)
    assert session.partial
    part, whole = (session.edited(label, style=style, mode="renewed", tolerance=0) for style in (car, road))
    assert part.mode == "renewed" and difference(part.picture, synth(label, style=car)).largest <= 1
    assert whole.mode == "full" and np.array_equal(whole.picture, synth(label, style=road))


def test_networks_without_parts_are_rendered_whole(tmp_path: Path, tiny_model: Path) -> None:
    path = write_spade_model(tmp_path / "spade.safetensors")
    label = np.zeros((64, 96), dtype=np.int64)
    for synth, style in ((load(path, "cpu"), Style(seed=1)), (load(tiny_model, "cpu", runtime="plain"), None)):
        session = synth.editing_session()
        session.render(label, style=style)
        found = session.edited(edited(label, 20, 20), style=style)
        assert not session.partial and session.bytes == 0 and found.mode == "full"
        assert np.array_equal(found.picture, synth(edited(label, 20, 20), style=style))


def test_what_is_wrong_is_said(session: EditingSession) -> None:
    with pytest.raises(ConfigError, match="no mode 'fast'; choose one of cached, renewed"):
        session.edited(layout(), mode="fast")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tolerance is -1"):
        session.edited(layout(), tolerance=-1)
    with pytest.raises(LabelError, match="One layout"):
        session.render(np.stack([layout(), layout()]))
