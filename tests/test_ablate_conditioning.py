"""A decoder that sees the layout where it begins, and nowhere else: SPADE's third way in its comparison."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from gesso.errors import ConfigError
from gesso.labels import Semantics
from gesso.networks.spade import Concatenation, SpadeGenerator, initialise
from gesso.recipes import spade
from support import PlainEngine

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = 4


def generator(**changes: Any) -> SpadeGenerator:
    torch.manual_seed(0)
    network = SpadeGenerator(
        **{"in_channels": LABELS, "width": 2, "norm": "instance", "conditioning": "input"} | changes
    )
    initialise(network, gain=1.0)
    return network.eval()


def layout(height: int = 64, width: int = 64) -> Tensor:
    label = torch.randint(LABELS, (1, height, width), generator=torch.Generator().manual_seed(1))
    return F.one_hot(label, LABELS).movedim(-1, 1).float()


def test_no_layer_but_the_first_sees_the_layout() -> None:
    network = generator()
    takes = [m.in_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert takes[0] == LABELS == network.start.in_channels
    norms = [module for module in network.modules() if isinstance(module, Concatenation)]
    assert norms
    assert all(not module.shown and module.out_channels == module.norm.num_features for module in norms)


def test_what_the_beginning_does_not_see_changes_nothing() -> None:
    """The layout is scaled down by nearest neighbour to 2x2: only these pixels count."""
    network, semantics = generator(), layout()
    first = network(semantics)
    unseen, seen = semantics.clone(), semantics.clone()
    unseen[..., 1:32, 1:32] = 0
    seen[..., 0, 0] = seen[..., 0, 0].roll(1)
    assert torch.equal(network(unseen), first)
    assert not torch.allclose(network(seen), first)


def test_the_other_ways_see_all_of_it() -> None:
    semantics = layout()
    unseen = semantics.clone()
    unseen[..., 1:32, 1:32] = 0
    for conditioning in ("spade", "concat"):
        network = generator(conditioning=conditioning, hidden=4)
        assert not torch.allclose(network(unseen), network(semantics))


def test_the_layer_is_the_norm_alone() -> None:
    layer, x = Concatenation(5, LABELS, "instance", shown=False), torch.randn(2, 5, 8, 8)
    torch.testing.assert_close(layer(x, layout(8, 8)), F.instance_norm(x))


def test_random_numbers_at_the_beginning_leave_no_place_for_the_layout() -> None:
    with pytest.raises(ConfigError, match="needs latent 0"):
        generator(latent=8, latent_grid=(2, 2))
    sizes = {"resize": "fixed", "height": 64, "width": 64, "conditioning": "input"}
    for settings, flag in (({"latent": 8}, "--latent"), ({"style_encoder": True}, "--style-encoder")):
        with pytest.raises(ValidationError, match=f"--conditioning input shows the layout .* leave out {flag}"):
            spade.Config(**sizes, **settings)


def test_it_trains() -> None:
    semantics = Semantics(classes=LABELS)
    sizes = {"resize": "fixed", "height": 64, "width": 64, "generator_width": 2, "discriminator_width": 4}
    config = spade.Config(**sizes, conditioning="input", norm="instance", batch=1)
    players = spade.build(config, semantics)
    assert players.descriptions["generator"]["arguments"]["conditioning"] == "input"
    before = {name: value.clone() for name, value in players.trained["generator"].state_dict().items()}
    batch = {"semantics": layout(), "image": torch.rand(1, 3, 64, 64) * 2 - 1}
    losses = spade.train_step(config, players, spade.optimizers(config, players), [batch], PlainEngine())
    assert all(value.isfinite() for value in losses.values())
    after = players.trained["generator"].state_dict()
    assert not torch.equal(after["start.weight"], before["start.weight"])
