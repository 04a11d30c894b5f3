"""Official pix2pix weights: names, architecture and refusals, on small random networks.

The references below are written from the documented slots of the official blocks: their state dicts carry the official names,
and their outputs must be ours.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gesso.errors import ModelFileError
from gesso.importers import import_official, load_official
from gesso.importers.pix2pix import kind_of
from support import damage
from test_importers import Global, randomised

Norm = Callable[[int], nn.Module]
NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda _: nn.Identity()}
KINDS = ("pix2pix.unet", "pix2pix.patchgan", "pix2pix.pixelgan")


class Block(nn.Module):
    """One level of the official U-Net, with the next one inside; slots of activations count."""

    def __init__(self, widths: list[int], level: int, norm: str, skips: bool, out: int = 3) -> None:
        super().__init__()
        self.outermost, self.skips = level == 0, skips
        bias, make = norm == "instance", NORMS[norm]
        outer, inner = (out if level == 0 else widths[level]), widths[level + 1]
        innermost = level == len(widths) - 2
        down = nn.Conv2d(widths[level], inner, 4, 2, 1, bias=bias)
        wide = inner if innermost or not skips else 2 * inner
        up = nn.ConvTranspose2d(wide, outer, 4, 2, 1, bias=bias or level == 0)
        before = [down] if level == 0 else [nn.LeakyReLU(0.2), down]
        if not innermost:
            before += [make(inner)] if level else []
            before += [Block(widths, level + 1, norm, skips)]
        after = [nn.ReLU(), up, nn.Tanh() if level == 0 else make(outer)]
        self.model = nn.Sequential(*before, *after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost or not self.skips else torch.cat([x, y], 1)


class UNet(nn.Module):
    def __init__(self, channels: int, width: int, downs: int, norm: str, skips: bool = True) -> None:
        super().__init__()
        self.model = Block([channels, *(width * min(2**i, 8) for i in range(downs))], 0, norm, skips)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Patch(nn.Module):
    def __init__(self, channels: int, width: int, layers: int, norm: str) -> None:
        super().__init__()
        made: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        widths = [width * min(2**n, 8) for n in range(layers + 1)]
        for n in range(1, layers + 1):
            conv = nn.Conv2d(widths[n - 1], widths[n], 4, 2 if n < layers else 1, 1, bias=norm == "instance")
            made += [conv, NORMS[norm](widths[n]), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*made, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Pixel(nn.Module):
    def __init__(self, channels: int, width: int, norm: str) -> None:
        super().__init__()
        bias = norm == "instance"
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            NORMS[norm](2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def reference(kind: str, norm: str = "batch", **changes: Any) -> nn.Module:
    made: dict[str, Callable[[], nn.Module]] = {
        "pix2pix.unet": lambda: UNet(
            5, changes.get("width", 3), changes.get("downs", 6), norm, changes.get("skips", True)
        ),
        "pix2pix.patchgan": lambda: Patch(6, changes.get("width", 3), changes.get("layers", 3), norm),
        "pix2pix.pixelgan": lambda: Pixel(6, changes.get("width", 3), norm),
    }
    return randomised(made[kind]()).eval()


@functools.cache
def _official(kind: str, norm: str) -> dict[str, Tensor]:
    return reference(kind, norm).state_dict()


def official(kind: str, norm: str = "batch") -> dict[str, Tensor]:
    return dict(_official(kind, norm))


def same_outputs(theirs: nn.Module, ours: nn.Module, x: Tensor) -> None:
    for training in (False, True):
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("downs", [2, 3, 5, 7])
def test_unet(downs: int, norm: str, skips: bool) -> None:
    theirs = reference("pix2pix.unet", norm, downs=downs, skips=skips)
    found = import_official(theirs.state_dict(), "pix2pix.unet")
    same_outputs(theirs, found.network, torch.randn(2, 5, 2**downs, 2 ** (downs + 1)))
    assert (found.arguments["in_channels"], found.arguments["width"], found.arguments["downs"]) == (5, 3, downs)
    assert (found.arguments["norm"], found.arguments["skips"]) == (norm, skips)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_patchgan(layers: int, norm: str) -> None:
    theirs = reference("pix2pix.patchgan", norm, layers=layers)
    found = import_official(theirs.state_dict(), "pix2pix.patchgan")
    side = 4 * 2**layers
    same_outputs(theirs, found.network, torch.randn(2, 6, side, side + 2))
    assert found.arguments == {"in_channels": 6, "width": 3, "layers": layers, "norm": norm}


@pytest.mark.parametrize("norm", NORMS)
def test_pixelgan(norm: str) -> None:
    theirs = reference("pix2pix.pixelgan", norm)
    found = import_official(theirs.state_dict(), "pix2pix.pixelgan")
    same_outputs(theirs, found.network, torch.randn(2, 6, 5, 7))
    assert found.arguments == {"in_channels": 6, "width": 3, "layers": 0, "norm": norm}


def test_what_weights_do_not_tell_is_said() -> None:
    """Dropout and test-time statistics as published: the official test without --eval."""
    tensors = official("pix2pix.unet")
    found = import_official(tensors, "pix2pix.unet", dropout=0.5, statistics="picture", noise_channels=2)
    assert (found.arguments["dropout"], found.arguments["statistics"]) == (0.5, "picture")
    assert (found.arguments["in_channels"], found.arguments["noise_channels"]) == (3, 2)
    plain = import_official(tensors, "pix2pix.unet")
    assert (plain.arguments["dropout"], plain.arguments["statistics"]) == (0.0, "running")
    published = import_official(tensors, "pix2pix.unet", statistics="picture").network.eval()
    x = torch.randn(1, 5, 64, 64)
    torch.testing.assert_close(published(x), reference("pix2pix.unet").train()(x))


def test_more_noise_than_there_are_channels_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"model\.model\.0\.weight takes 5 channels, which cannot be 5 of noise"):
        load_official(official("pix2pix.unet"), "pix2pix.unet", noise_channels=5)


def test_a_single_level_is_no_unet() -> None:
    """Such as what is left of a damaged file."""
    tensors = {
        name: t for name, t in official("pix2pix.unet").items() if re.match(r"model\.model\.\d\.(weight|bias)", name)
    }
    with pytest.raises(ModelFileError, match=r"missing: model\.model\.1\.model\.1\.weight"):
        load_official(tensors, "pix2pix.unet")


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_that_torch_before_04_stored_are_left_out(kind: str) -> None:
    """Instance norm had running statistics then; the official loader deletes them."""
    plain = official(kind, "instance")
    old = dict(plain)
    for name, tensor in official(kind, "batch").items():
        if name.endswith(("running_mean", "running_var")):
            old[name] = tensor
    assert len(old) > len(plain)
    loaded = load_official(old, kind).state_dict()
    assert len(loaded) == len(plain)
    for name, tensor in load_official(plain, kind).state_dict().items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_tensors_stay_his(kind: str) -> None:
    given = {n: t.half() if t.is_floating_point() else t.clone() for n, t in official(kind).items()}
    kept = {n: t.clone() for n, t in given.items()}
    network = load_official(given, kind)
    assert all(p.dtype == torch.float32 and p.requires_grad and p.is_leaf for p in network.parameters())
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(t, kept[n]) for n, t in given.items())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_tensor_is_named(kind: str, norm: str) -> None:
    tensors = official(kind, norm)
    for name in tensors:
        with pytest.raises(ModelFileError) as caught:
            load_official({n: t for n, t in tensors.items() if n != name}, kind)
        assert name in str(caught.value)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_of_another_shape_is_named(kind: str, norm: str) -> None:
    tensors = official(kind, norm)
    for name, tensor in tensors.items():
        for other in ([9, *tensor.shape[1:]] if tensor.dim() else [9], []):
            if tuple(other) == tuple(tensor.shape):
                continue
            with pytest.raises(ModelFileError) as caught:
                load_official(tensors | {name: torch.zeros(other)}, kind)
            assert name in str(caught.value), other


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "name",
    ["optimizer", "model.model.9.weight", "model.model.1.model.3.model.9.bias", "model.14.weight", "net.8.weight"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_each_surplus_tensor_is_named(kind: str, name: str, norm: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_official(official(kind, norm) | {name: torch.zeros(8)}, kind)
    assert name in str(caught.value)


def test_weights_of_another_kind_are_refused() -> None:
    others = {kind: official(kind) for kind in KINDS}
    others["pix2pixHD"] = Global(5, 4, 2, 1, nn.BatchNorm2d).state_dict()
    for kind in KINDS:
        for name, tensors in others.items():
            if name != kind:
                with pytest.raises(ModelFileError):
                    load_official(tensors, kind)
        with pytest.raises(ModelFileError, match="None of the tensors is named as in"):
            load_official({}, kind)


def test_kind_of() -> None:
    for kind in KINDS:
        for norm in NORMS:
            assert f"pix2pix.{kind_of(official(kind, norm))}" == kind
    hd = Global(5, 4, 2, 1, nn.BatchNorm2d).state_dict()
    assert kind_of(hd) is None
    assert kind_of({}) is None


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), norm=st.sampled_from(list(NORMS)))
def test_damaged_weights_never_fail_in_another_way(data: st.DataObject, kind: str, norm: str) -> None:
    tensors = official(kind, norm)
    damage(data, tensors)
    try:
        network = load_official(tensors, kind)
    except ModelFileError:
        return
    assert len(network.state_dict()) == len(tensors)
