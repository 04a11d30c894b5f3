"""Official pix2pixHD weights: names, architecture and refusals, on small random networks.

The references below are written from the documented slots of the official sequences: their state dicts carry the official
names, and their outputs must be ours.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gesso import importers
from gesso.errors import ModelFileError
from gesso.importers import load_official
from gesso.networks.pix2pixhd import pool_instances
from support import damage

KINDS = [kind for kind in importers.KINDS if kind.startswith("pix2pixhd.")]
Norm = Callable[[int], nn.Module]
NORMS: dict[str, Norm] = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}


class Residual(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        pad, conv = nn.ReflectionPad2d, nn.Conv2d
        self.conv_block = nn.Sequential(
            pad(1), conv(channels, channels, 3), norm(channels), nn.ReLU(),
            pad(1), conv(channels, channels, 3), norm(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def wide(channels: int, out: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, out, 7)]


def down(channels: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(channels, 2 * channels, 3, 2, 1), norm(2 * channels), nn.ReLU()]


def up(channels: int, norm: Norm) -> list[nn.Module]:
    return [nn.ConvTranspose2d(channels, channels // 2, 3, 2, 1, 1), norm(channels // 2), nn.ReLU()]


def trunk(channels: int, width: int, downs: int, blocks: int, norm: Norm) -> list[nn.Module]:
    layers = [*wide(channels, width), norm(width), nn.ReLU()]
    for i in range(downs):
        layers += down(width * 2**i, norm)
    layers += [Residual(width * 2**downs, norm) for _ in range(blocks)]
    for i in range(downs, 0, -1):
        layers += up(width * 2**i, norm)
    return layers


class Global(nn.Module):
    """Also the encoder, which has no residual blocks."""

    def __init__(self, channels: int, width: int, downs: int, blocks: int, norm: Norm, out: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(*trunk(channels, width, downs, blocks, norm), *wide(width, out), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Local(nn.Module):
    def __init__(self, channels: int, width: int, downs: int, blocks: int, norm: Norm, levels: int, depth: int) -> None:
        super().__init__()
        self.levels = levels
        self.model = nn.Sequential(*trunk(channels, width * 2**levels, downs, blocks, norm))
        for n in range(1, levels + 1):
            wide_here = width * 2 ** (levels - n)
            before = [*wide(channels, wide_here), norm(wide_here), nn.ReLU(), *down(wide_here, norm)]
            after = [*(Residual(2 * wide_here, norm) for _ in range(depth)), *up(2 * wide_here, norm)]
            if n == levels:
                after += [*wide(width, 3), nn.Tanh()]
            self.add_module(f"model{n}_1", nn.Sequential(*before))
            self.add_module(f"model{n}_2", nn.Sequential(*after))

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for _ in range(self.levels):
            pyramid.append(F.avg_pool2d(pyramid[-1], 3, 2, 1, count_include_pad=False))
        y = self.model(pyramid[-1])
        for n in range(1, self.levels + 1):
            y = self.get_submodule(f"model{n}_2")(self.get_submodule(f"model{n}_1")(pyramid[-1 - n]) + y)
        return y


class Discriminators(nn.Module):
    """With features a module per layer, without them one sequence per scale; the coarsest scale is number 0."""

    def __init__(self, channels: int, width: int, layers: int, scales: int, norm: Norm, with_features: bool) -> None:
        super().__init__()
        self.order = []
        for s in range(scales):
            groups = self.groups(channels, width, layers, norm)
            if with_features:
                self.order.append([f"scale{s}_layer{j}" for j in range(len(groups))])
                for name, group in zip(self.order[-1], groups, strict=True):
                    self.add_module(name, nn.Sequential(*group))
            else:
                self.order.append([f"layer{s}"])
                self.add_module(f"layer{s}", nn.Sequential(*(layer for group in groups for layer in group)))

    @staticmethod
    def groups(channels: int, width: int, layers: int, norm: Norm) -> list[list[nn.Module]]:
        made: list[list[nn.Module]] = [[nn.Conv2d(channels, width, 4, 2, 2), nn.LeakyReLU(0.2)]]
        for j in range(1, layers + 1):
            conv = nn.Conv2d(width, min(2 * width, 512), 4, 2 if j < layers else 1, 2)
            width = conv.out_channels
            made.append([conv, norm(width), nn.LeakyReLU(0.2)])
        return [*made, [nn.Conv2d(width, 1, 4, 1, 2)]]

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        outputs = []
        for names in reversed(self.order):
            y, taken = x, []
            for name in names:
                y = self.get_submodule(name)(y)
                taken.append(y)
            outputs.append(taken)
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return outputs


def randomised(network: nn.Module) -> nn.Module:
    """Weights, and statistics of batch norm, that differ everywhere and keep activations alive."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        else:
            tensor.normal_(0.0, 0.2, generator=generator)
    return network.eval()


def image(channels: int, height: int = 32, width: int = 64) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def reference(kind: str, norm: Norm = nn.InstanceNorm2d) -> nn.Module:
    made = {
        "pix2pixhd.global": lambda: Global(5, 4, 2, 2, norm),
        "pix2pixhd.local": lambda: Local(5, 2, 1, 1, norm, levels=2, depth=1),
        "pix2pixhd.discriminator": lambda: Discriminators(8, 4, 2, 2, norm, with_features=True),
        "pix2pixhd.encoder": lambda: Global(3, 4, 2, 0, norm, out=2),
    }
    return randomised(made[kind]())


def official(kind: str, norm: Norm = nn.InstanceNorm2d) -> dict[str, Tensor]:
    return dict(reference(kind, norm).state_dict())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("downs", "blocks"), [(1, 1), (2, 3), (4, 2), (3, 0)])
def test_global_generator(downs: int, blocks: int, norm: str) -> None:
    theirs = randomised(Global(5, 3, downs, blocks, NORMS[norm]))
    ours = load_official(theirs.state_dict(), "pix2pixhd.global").eval()
    torch.testing.assert_close(ours(image(5)), theirs(image(5)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("levels", "depth"), [(1, 3), (2, 1), (3, 2), (1, 0)])
def test_coarse_to_fine_generator(levels: int, depth: int, norm: str) -> None:
    theirs = randomised(Local(5, 2, 1, 2, NORMS[norm], levels, depth))
    ours = load_official(theirs.state_dict(), "pix2pixhd.local").eval()
    torch.testing.assert_close(ours(image(5)), theirs(image(5)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("with_features", [True, False])
@pytest.mark.parametrize(("layers", "scales"), [(3, 2), (1, 1), (2, 3)])
def test_discriminator(layers: int, scales: int, with_features: bool, norm: str) -> None:
    theirs = randomised(Discriminators(5, 4, layers, scales, NORMS[norm], with_features))
    ours = load_official(theirs.state_dict(), "pix2pixhd.discriminator").eval()(image(5))
    for our_layers, their_layers in zip(ours, theirs(image(5)), strict=True):
        compared = our_layers if with_features else our_layers[-1:]
        torch.testing.assert_close(compared, their_layers)


def test_wide_discriminators_stop_at_512_channels() -> None:
    with torch.device("meta"):
        theirs = Discriminators(5, 200, 3, 1, nn.InstanceNorm2d, with_features=True)
    ours = load_official(theirs.state_dict(), "pix2pixhd.discriminator")
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize("norm", NORMS)
def test_encoder(norm: str) -> None:
    theirs = reference("pix2pixhd.encoder", NORMS[norm])
    ours = load_official(theirs.state_dict(), "pix2pixhd.encoder").eval()
    instance = torch.arange(32 * 64).reshape(1, 32, 64).expand(2, -1, -1) // 100
    torch.testing.assert_close(ours(image(3), instance), pool_instances(theirs(image(3)), instance))


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_that_torch_before_04_stored_are_left_out(kind: str) -> None:
    def tracking(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels, track_running_stats=True)

    old = {n: t for n, t in official(kind, tracking).items() if not n.endswith("num_batches_tracked")}
    assert any(name.endswith("running_mean") for name in old)
    plain = {n: t for n, t in old.items() if "running" not in n}
    loaded = load_official(old, kind).state_dict()
    assert len(loaded) == len(plain)
    for name, tensor in load_official(plain, kind).state_dict().items():
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("name", ["model.3.running_mean", "model.1.running_mean", "model.2.running_mean"])
def test_other_statistics_are_refused(name: str) -> None:
    """Beside an activation, beside a convolution, and a mean without its variance."""
    with pytest.raises(ModelFileError, match=rf"left over: {name}\."):
        load_official(official("pix2pixhd.global") | {name: torch.zeros(4)}, "pix2pixhd.global")


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_tensors_stay_his(kind: str) -> None:
    given = {n: t.half() for n, t in official(kind).items()}
    kept = {n: t.clone() for n, t in given.items()}
    for tensors in (given, {n: t.float() for n, t in given.items()}):
        network = load_official(tensors, kind)
        assert all(p.dtype == torch.float32 and p.requires_grad and p.is_leaf for p in network.parameters())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        assert all(torch.equal(t.half(), kept[n]) and not t.requires_grad for n, t in tensors.items())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_missing_tensor_is_named(kind: str, norm: str) -> None:
    tensors = official(kind, NORMS[norm])
    for name in tensors:
        with pytest.raises(ModelFileError) as caught:
            load_official({n: t for n, t in tensors.items() if n != name}, kind)
        assert name in str(caught.value)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_of_another_shape_is_named(kind: str, norm: str) -> None:
    tensors = official(kind, NORMS[norm])
    for name, tensor in tensors.items():
        for other in ([9, *tensor.shape[1:]] if tensor.dim() else [9], []):
            if tuple(other) == tuple(tensor.shape):
                continue
            with pytest.raises(ModelFileError) as caught:
                load_official(tensors | {name: torch.zeros(other)}, kind)
            assert name in str(caught.value), other


def test_message_says_what_came_and_what_is_expected() -> None:
    tensors = official("pix2pixhd.global") | {"model.4.bias": torch.zeros(9)}
    with pytest.raises(ModelFileError, match=r"model\.4\.bias has shape \(9,\); \(8,\) .* model\.1\.weight of shape"):
        load_official(tensors, "pix2pixhd.global")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_kind_are_refused(kind: str) -> None:
    for other in KINDS:
        if other != kind:
            with pytest.raises(ModelFileError):
                load_official(official(other), kind)


@pytest.mark.parametrize(
    ("weights", "kind", "hint"),
    [
        ("encoder", "global", "import an encoder .* as pix2pixhd.encoder"),
        ("local", "global", "import them as pix2pixhd.local"),
        ("global", "local", "as pix2pixhd.global"),
        ("global", "encoder", "import a generator .* as pix2pixhd.global"),
        ("discriminator", "global", "None of the tensors is named as in a generator"),
        ("global", "discriminator", "None of the tensors is named as in a discriminator"),
    ],
)
def test_hint_at_the_right_kind(weights: str, kind: str, hint: str) -> None:
    with pytest.raises(ModelFileError, match=hint):
        load_official(official(f"pix2pixhd.{weights}"), f"pix2pixhd.{kind}")


def test_unknown_kind() -> None:
    with pytest.raises(ModelFileError, match=r"'pix2pixhd\.generator'.*pix2pixhd\.global, pix2pixhd\.local"):
        load_official({}, "pix2pixhd.generator")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_and_other_things_are_refused(kind: str) -> None:
    with pytest.raises(ModelFileError):
        load_official({}, kind)
    with pytest.raises(ModelFileError, match="state_dict is a dict instead of a tensor"):
        load_official({"state_dict": official(kind)}, kind)  # type: ignore[dict-item]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(list(KINDS)), norm=st.sampled_from(list(NORMS)))
def test_damaged_weights_never_fail_in_another_way(data: st.DataObject, kind: str, norm: str) -> None:
    tensors = official(kind, NORMS[norm])
    damage(data, tensors)
    try:
        network = load_official(tensors, kind)
    except ModelFileError:
        return
    assert len(network.state_dict()) == len(tensors)
