"""Names and shapes of full-size official networks: every one is accounted for, and one that is off is named.

Nothing here has memory behind it: the tensors are on torch's meta device.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gesso.errors import ModelFileError
from gesso.importers import load_official
from support import Golden

ITEM = "A9_manifests"
PUBLISHED_TOTALS = {36: 182_546_755, 39: 182_556_163}  # global generator at 1024x512, by channels of its input
Manifests = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def manifests(golden: Golden) -> Manifests:
    meta, _ = golden(ITEM)
    found = {name: entry for name, entry in meta["networks"].items() if name.startswith("pix2pixHD/")}
    if not found:
        pytest.skip(f"{ITEM} lists no network of pix2pixHD")
    return found


def kind(entry: dict[str, Any]) -> str:
    return f"pix2pixhd.{entry['config'].get('netG', 'discriminator')}"


def meta_tensors(entry: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in (entry["params"] | entry["buffers"]).items()}


def one_of_each(manifests: Manifests) -> list[dict[str, Any]]:
    """Networks that differ in the names of their tensors, not only in shapes."""
    return list({tuple(entry["params"]): entry for entry in manifests.values()}.values())


def test_every_network_is_built(golden: Golden, manifests: Manifests) -> None:
    for name, entry in manifests.items():
        network = load_official(meta_tensors(entry), kind(entry))
        assert sum(p.numel() for p in network.parameters()) == entry["n_params"], name
        assert len(network.state_dict()) == entry["n_keys"], name
        theirs = sorted(tuple(shape) for shape in (entry["params"] | entry["buffers"]).values())
        assert sorted(tuple(t.shape) for t in network.state_dict().values()) == theirs, name
        golden.count(ITEM, entry["n_keys"])


def test_published_totals(manifests: Manifests) -> None:
    full_size = {"netG": "global", "ngf": 64, "n_downsample_global": 4, "n_blocks_global": 9, "norm": "instance"}
    entries = [e for e in manifests.values() if full_size.items() <= e["config"].items()]
    known = [e for e in entries if e["config"]["input_nc"] in PUBLISHED_TOTALS]
    if not known:
        pytest.skip(f"{ITEM} lists no full-size global generator")
    for entry in known:
        network = load_official(meta_tensors(entry), "pix2pixhd.global")
        assert sum(p.numel() for p in network.parameters()) == PUBLISHED_TOTALS[entry["config"]["input_nc"]]


def refusal(tensors: dict[str, Tensor], kind: str) -> str:
    with pytest.raises(ModelFileError) as caught:
        load_official(tensors, kind)
    return str(caught.value)


def test_one_missing_tensor_is_named(manifests: Manifests) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        for name in tensors:
            assert name in refusal({n: t for n, t in tensors.items() if n != name}, kind(entry)), name


def test_one_tensor_of_another_shape_is_named(manifests: Manifests) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        for name, tensor in tensors.items():
            other = [tensor.shape[0] + 1, *tensor.shape[1:]] if tensor.dim() else [1]
            assert name in refusal(tensors | {name: torch.empty(other, device="meta")}, kind(entry)), name


@pytest.mark.parametrize(
    "name",
    [
        "optimizer_step",
        "model.3.weight",
        "model.99.weight",
        "model.2.running_mean",
        "model.40.conv_block.1.weight",
        "model1_1.99.weight",
        "model7_1.1.weight",
        "scale7_layer0.0.weight",
        "layer7.0.weight",
    ],
)
def test_one_surplus_tensor_is_named(manifests: Manifests, name: str) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        assert name not in tensors
        assert name in refusal(tensors | {name: torch.empty(64, device="meta")}, kind(entry))
