"""Photographs of edited layouts: what is computed of them is what the network gives, what is not is told."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gesso.networks.indexed import Indexed
from gesso.synthesis.fast.edits import EditingPix2pixHD
from gesso.synthesis.fast.norms import Affine, Norm
from gesso.synthesis.fast.pix2pixhd import FastPix2pixHD, Generator
from gesso.synthesis.fast.regions import Neighbours, grown, merged, pooled, windows_of
from gesso.synthesis.fast.windows import Window
from test_fast_pix2pixhd import CLASSES, GENERATORS, layout, network

pytestmark = pytest.mark.usefixtures("one_thread")
WITHIN = 1e-5  # of the largest value
SOME = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def any_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures are reached as a whole at once."""
    monkeypatch.setattr("gesso.synthesis.fast.edits.MOST", 1.0)


class _Frozen(nn.Module):
    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self.affine = affine

    def forward(self, x: Tensor) -> Tensor:
        return x * self.affine.scale.view(-1, 1, 1).to(x.dtype) + self.affine.shift.view(-1, 1, 1).to(x.dtype)


def norms_of(engine: FastPix2pixHD) -> list[Norm]:
    """In the order of the network's modules."""
    found = []
    for part in (engine.trunk, *engine.enhancers):
        found += [first.norm for first in part.firsts]
        found += [norm for block in part.blocks for norm in block.norms]
        found += [up.norm for up in part.ups]
    return found


def frozen(generator: Generator, editing: EditingPix2pixHD) -> nn.Module:
    """The plain network in float64, each normalisation doing what it did in the picture that is remembered."""
    assert editing.kept is not None
    made = copy.deepcopy(generator).double()
    affines = iter([editing.kept.affines[norm] for norm in norms_of(editing.engine)])
    for parent in list(made.modules()):
        last = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm2d | nn.BatchNorm2d):
                setattr(parent, name, _Frozen(next(affines)))
                assert isinstance(last, nn.Conv2d | nn.ConvTranspose2d) and last.bias is not None
                last.bias.data.zero_()  # the engine leaves them to its normalisation
            last = child
    return made


def started(name: str, size: tuple[int, int] = (32, 48)) -> tuple[Generator, EditingPix2pixHD, Indexed]:
    made, arguments = GENERATORS[name]
    generator = network(made, **arguments)
    editing = EditingPix2pixHD(FastPix2pixHD(generator))
    return generator, editing, layout("blocks", size)


def painted(semantics: Indexed, box: tuple[int, int, int, int], by: int = 1) -> Indexed:
    """Another class in rows and columns of a box."""
    top, bottom, left, right = box
    changed = semantics.codes.clone()
    changed[:, top:bottom, left:right] = (changed[:, top:bottom, left:right] + by) % CLASSES
    return Indexed(changed, semantics.vectors.clone())


BOXES = {
    "one pixel": (13, 14, 21, 22),
    "corner": (0, 1, 0, 1),
    "last corner": (28, 32, 40, 48),
    "row": (5, 6, 0, 48),
    "patch": (10, 17, 11, 20),
    "everything": (0, 32, 0, 48),
}


@torch.inference_mode()
@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", GENERATORS)
def test_cached_is_the_network_with_the_same_statistics(name: str, box: str, any_share: None) -> None:
    generator, editing, semantics = started(name)
    first = editing.render(semantics)
    edited = painted(semantics, BOXES[box])
    found = editing.edited(edited, tolerance=0.0)
    wanted = frozen(generator, editing)(edited.dense().double())
    assert found is not None
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()
    assert (wanted - first).abs().max() > 10 * WITHIN * wanted.abs().max()  # the edit shows


@torch.inference_mode()
@SOME
@given(st.data())
def test_cached_at_any_size_and_place(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["global", "global, resize", "one enhancer"]))
    size = data.draw(st.integers(2, 9)) * 8, data.draw(st.integers(2, 9)) * 8
    spans = [sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2))) for length in size]
    generator, editing, semantics = started(name, size)
    first = editing.render(semantics)
    edited = painted(semantics, (*spans[0], *spans[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gesso.synthesis.fast.edits.MOST", 1.0)
        found = editing.edited(edited, tolerance=0.0)
    exact = frozen(generator, editing)
    wanted = exact(edited.dense().double())
    rounding = (first - exact(semantics.dense().double())).abs().max()  # of few pixels, norms make much
    assert found is not None
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max() + 3 * rounding


@pytest.mark.parametrize("mode", ["cached", "renewed"])
@pytest.mark.parametrize("name", ["global", "one enhancer"])
def test_without_an_edit_nothing_changes(name: str, mode: str) -> None:
    _, editing, semantics = started(name)
    first = editing.render(semantics)
    again = editing.edited(Indexed(semantics.codes.clone(), semantics.vectors.clone()), mode=mode)  # type: ignore[arg-type]
    assert again is not None and torch.equal(again.picture, first) and again.error == again.computed == 0


@pytest.mark.parametrize("box", ["one pixel", "last corner", "patch"])
@pytest.mark.parametrize("name", GENERATORS)
def test_renewed_without_tolerance_is_the_whole_picture(name: str, box: str, any_share: None) -> None:
    _, editing, semantics = started(name)
    editing.render(semantics)
    edited = painted(semantics, BOXES[box])
    found = editing.edited(edited, mode="renewed", tolerance=0.0)
    wanted = editing.engine(edited)
    assert found is not None
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()


def test_renewed_comes_nearer_with_less_tolerance() -> None:
    _, editing, semantics = started("global", (64, 96))
    editing.render(semantics)
    edited = painted(semantics, (20, 28, 30, 40))
    wanted, errors, shares = editing.engine(edited), [], []
    for tolerance in (1.0, 0.05, 0.01):
        found = editing.edited(edited, mode="renewed", tolerance=tolerance)
        assert found is not None
        errors.append(float((found.picture - wanted).abs().mean()))
        shares.append(found.computed)
    assert errors[0] > errors[2] and errors == sorted(errors, reverse=True)
    assert shares[0] < shares[2] and shares == sorted(shares)


def test_batch_norm_knows_no_other_pixels() -> None:
    """Its statistics are fixed: nothing is neglected, and the photograph is exact."""
    _, editing, semantics = started("global, batch norm", (64, 96))
    editing.render(semantics)
    edited = painted(semantics, (20, 28, 30, 40))
    found, wanted = editing.edited(edited, tolerance=0.0), editing.engine(edited)
    assert found is not None and found.error == 0
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()


def test_norms_that_are_fixed_and_forget_everything_do_no_harm() -> None:
    """A scale of 0 cannot be undone."""
    generator = network(norm="batch")
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[::2] = 0
    editing, semantics = EditingPix2pixHD(FastPix2pixHD(generator)), layout("blocks", (64, 96))
    editing.render(semantics)
    edited = painted(semantics, (20, 28, 30, 40))
    found = editing.edited(edited, mode="renewed", tolerance=0.0)
    wanted = editing.engine(edited)
    assert found is not None and (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()


def test_edits_are_compared_with_the_whole_picture_not_with_each_other() -> None:
    _, editing, semantics = started("global", (64, 96))
    editing.render(semantics)
    last = painted(semantics, (20, 28, 30, 40))
    alone = editing.edited(last)
    editing.render(semantics)
    for box in ((0, 9, 0, 9), (20, 24, 30, 40)):
        editing.edited(painted(semantics, box))
    after = editing.edited(last)
    assert alone is not None and after is not None and torch.equal(alone.picture, after.picture)


def test_the_style_of_an_object_is_an_edit() -> None:
    generator = network(channels=CLASSES + 2)
    editing = EditingPix2pixHD(FastPix2pixHD(generator))
    semantics, style = layout("blocks", (64, 96)), torch.zeros(1, 2, 64, 96)
    editing.render(semantics, style)
    other = style.clone()
    other[:, 1, 30:40, 50:56] = 0.7
    found = editing.edited(semantics, other, mode="renewed", tolerance=0.0)
    wanted = editing.engine(semantics, other)
    assert found is not None
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()
    assert editing.edited(semantics, torch.ones(1, 2, 64, 96)) is None  # all changed: there is nothing to go by


def test_what_cannot_be_compared_is_not() -> None:
    _, editing, semantics = started("global")
    assert editing.edited(semantics) is None  # nothing was rendered
    editing.render(semantics)
    assert editing.edited(layout("blocks", (32, 56))) is None
    assert editing.edited(Indexed(semantics.codes, 2 * semantics.vectors)) is None
    assert editing.edited(semantics.dense()) is None


def test_changes_of_what_was_handed_in_do_not_go_unseen() -> None:
    _, editing, semantics = started("global", (64, 96))
    editing.render(semantics)
    semantics.codes[:, 20:24, 30:40] = (semantics.codes[:, 20:24, 30:40] + 1) % CLASSES
    found = editing.edited(semantics, mode="renewed", tolerance=0.0)
    wanted = editing.engine(Indexed(semantics.codes, semantics.vectors))
    assert found is not None
    assert (found.picture - wanted).abs().max() <= WITHIN * wanted.abs().max()


def test_memory_is_what_is_said() -> None:
    _, editing, semantics = started("global", (64, 96))
    editing.render(semantics)
    assert editing.kept is not None
    features, blocks = 16 * 24 * 32 * 4, 2  # of 64x96 at a quarter, 32 channels
    assert editing.kept.bytes == features * (2 * blocks + 1) + 3 * 64 * 96 * 4 + 64 * 96 * 8 + CLASSES**2 * 4


# ------------------------------------------------------------------------------------------------------------- regions


@SOME
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32))
def test_windows_cover_masks(height: int, width: int, seed: int) -> None:
    mask = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.1
    covered = torch.zeros_like(mask)
    for window in windows_of(mask):
        part = window.of(covered)
        assert not part.any()  # none twice
        part.fill_(True)
        assert window.of(mask).any()
    assert bool((covered | ~mask).all())


def test_windows_split_at_gaps_and_join_where_they_overlap() -> None:
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[2:4, 3:5] = mask[10, 15] = True
    assert windows_of(mask) == [Window(2, 4, 3, 5), Window(10, 11, 15, 16)]
    assert merged([Window(0, 4, 0, 4), Window(8, 9, 8, 9), Window(3, 9, 3, 5)]) == [
        Window(8, 9, 8, 9),
        Window(0, 9, 0, 5),
    ]


def test_neighbours_are_those_of_a_convolution() -> None:
    x, weight = torch.randn(1, 3, 5, 7), torch.randn(4, 3, 3, 3)
    wanted = nn.functional.conv2d(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), weight)
    rows = x[0].flatten(1).t()
    some = torch.tensor([0, 6, 17, 34])
    found = Neighbours((5, 7)).convolved(rows, weight, some)
    torch.testing.assert_close(found, wanted[0].flatten(1).t()[some])
    assert Neighbours((5, 7)).convolved(rows, weight, some[:0]).shape == (0, 4)


def test_masks_grow() -> None:
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[0, 4] = True
    assert int(grown(mask).sum()) == 6
    assert pooled(mask, 3, 2, 1).nonzero().tolist() == [[0, 2]]
