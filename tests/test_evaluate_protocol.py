"""What of a label space makes numbers incomparable."""

from __future__ import annotations

import pytest

from evaluated import SPACE
from gesso.cli.evaluation_protocol import meaning
from gesso.labels import LabelSpace


def changed(**first: object) -> LabelSpace:
    classes = (SPACE.classes[0].model_copy(update=first), *SPACE.classes[1:])
    return SPACE.model_copy(update={"classes": classes})


@pytest.mark.parametrize(
    "other",
    [
        changed(values=(77,)),
        changed(thing=not SPACE.classes[0].thing),
        changed(name="heaven"),
        SPACE.model_copy(update={"ignore": (200,)}),
        SPACE.model_copy(update={"classes": SPACE.classes[::-1]}),
    ],
)
def test_another_meaning_is_another_protocol(other: LabelSpace) -> None:
    assert meaning(other) != meaning(SPACE)


def test_colours_and_the_name_of_the_space_mean_nothing() -> None:
    assert meaning(changed(colour=(1, 2, 3))) == meaning(SPACE)
    assert meaning(SPACE.model_copy(update={"name": "other", "source": "elsewhere"})) == meaning(SPACE)
