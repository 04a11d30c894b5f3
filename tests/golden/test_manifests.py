"""Names and shapes of full-size official networks: every one is accounted for, and one that is off is named.

Nothing here has memory behind it: the tensors are on torch's meta device.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso.errors import ModelFileError
from gesso.importers import load_official
from support import Golden

ITEM = "A9_manifests"
GLOBAL = {"netG": "global", "ngf": 64, "n_downsample_global": 4, "n_blocks_global": 9, "norm": "instance"}
FULL_SPADE = {"netG": "spade", "ngf": 64, "norm_G": "spectralspadesyncbatch3x3"}
REPEATED = re.compile(r"G_middle_1|up_[123]\.")  # blocks of SPADE that have tensors like their neighbours'
PUBLISHED_TOTALS: dict[str, list[tuple[dict[str, Any], int]]] = {
    "pix2pix": [  # for 256x256
        ({"netG": "unet_256", "ngf": 64, "input_nc": 3, "norm": "batch"}, 54_413_955),
        ({"netD": "basic", "ndf": 64, "n_layers": 3, "input_nc": 6, "norm": "batch"}, 2_768_705),
    ],
    "pix2pixHD": [  # for 1024x512
        ({**GLOBAL, "input_nc": 36}, 182_546_755),
        ({**GLOBAL, "input_nc": 39}, 182_556_163),
    ],
    "SPADE": [  # Cityscapes, ADE20K, COCO-Stuff; then Cityscapes from z
        ({**FULL_SPADE, "semantic_nc": 36, "use_vae": False}, 93_048_003),
        ({**FULL_SPADE, "semantic_nc": 151, "use_vae": False}, 96_492_483),
        ({**FULL_SPADE, "semantic_nc": 184, "use_vae": False, "num_upsampling_layers": "normal"}, 97_480_899),
        ({**FULL_SPADE, "semantic_nc": 36, "use_vae": True, "sw": 8, "sh": 4}, 101_136_579),
    ],
}
Entry = dict[str, Any]
Manifests = dict[str, Entry]


@pytest.fixture(scope="module", params=["pix2pix", "pix2pixHD", "SPADE"])
def manifests(golden: Golden, request: pytest.FixtureRequest) -> Manifests:
    meta, _ = golden(ITEM)
    found = {name: entry for name, entry in meta["networks"].items() if name.startswith(f"{request.param}/")}
    if not found:
        pytest.skip(f"{ITEM} lists no network of {request.param}")
    return {name: {**entry, "name": name} for name, entry in found.items()}


def kind(entry: Entry) -> str:
    system, config = entry["name"].split("/")[0], entry["config"]
    if system == "pix2pix":
        return {"unet": "pix2pix.unet", "pixel": "pix2pix.pixelgan"}.get(
            config.get("netG", config.get("netD")).split("_")[0], "pix2pix.patchgan"
        )
    if system == "SPADE":
        return {"G": "spade.generator", "D": "spade.discriminator", "E": "spade.encoder"}[entry["name"].split("/")[1]]
    return f"pix2pixhd.{config.get('netG', 'discriminator')}"


def load(tensors: dict[str, Tensor], entry: Entry) -> nn.Module:
    said = {"upsampling": entry["config"]["num_upsampling_layers"]} if kind(entry) == "spade.generator" else {}
    return load_official(tensors, kind(entry), **said)


def meta_tensors(entry: Entry) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in (entry["params"] | entry["buffers"]).items()}


def one_of_each(manifests: Manifests) -> list[Entry]:
    """Networks that differ in the names of their tensors, not only in shapes."""
    return list({tuple(entry["params"]): entry for entry in manifests.values()}.values())


def test_every_network_is_built(golden: Golden, manifests: Manifests) -> None:
    for name, entry in manifests.items():
        network = load(meta_tensors(entry), entry)
        assert sum(p.numel() for p in network.parameters()) == entry["n_params"], name
        assert len(network.state_dict()) == entry["n_keys"], name
        theirs = sorted(tuple(shape) for shape in (entry["params"] | entry["buffers"]).values())
        assert sorted(tuple(t.shape) for t in network.state_dict().values()) == theirs, name
        golden.count(ITEM, entry["n_keys"])


def test_published_totals(manifests: Manifests) -> None:
    system = next(iter(manifests)).split("/")[0]
    known = [
        (entry, total)
        for entry in manifests.values()
        for config, total in PUBLISHED_TOTALS[system]
        if config.items() <= entry["config"].items()
    ]
    if not known:
        pytest.skip(f"{ITEM} lists no network of {system} whose total is known")
    for entry, total in known:
        network = load(meta_tensors(entry), entry)
        assert sum(p.numel() for p in network.parameters()) == total


@pytest.mark.long
def refusal(tensors: dict[str, Tensor], entry: Entry) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(tensors, entry)
    return str(caught.value)


@pytest.mark.long
def test_one_missing_tensor_is_named(manifests: Manifests) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        for name in (n for n in tensors if not REPEATED.match(n)):
            if kind(entry).startswith("spade") and name.endswith("num_batches_tracked"):
                load(
                    {n: t for n, t in tensors.items() if n != name}, entry
                )  # SPADE's own synchronised norm never counted
                continue
            assert name in refusal({n: t for n, t in tensors.items() if n != name}, entry), name


def test_one_tensor_of_another_shape_is_named(manifests: Manifests) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        for name, tensor in ((n, t) for n, t in tensors.items() if not REPEATED.match(n)):
            other = [tensor.shape[0] + 1, *tensor.shape[1:]] if tensor.dim() else [1]
            assert name in refusal(tensors | {name: torch.empty(other, device="meta")}, entry), name


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
        "model.model.1.model.0.weight",
        "model.model.1.model.3.model.3.bias",
        "model.model.1.model.2.weight_u",
        "model.1.model.3.weight",
        "model.14.weight",
        "model.2.bias",
        "model.4.running_mean",
        "net.5.bias",
        "net.8.weight",
        "head_0.conv_0.weight",
        "head_0.conv_s.weight_u",
        "up_5.conv_0.bias",
        "discriminator_7.model0.0.weight",
        "discriminator_0.model1.0.1.running_mean",
        "layer7.0.weight_orig",
    ],
)
def test_one_surplus_tensor_is_named(manifests: Manifests, name: str) -> None:
    for entry in one_of_each(manifests):
        tensors = meta_tensors(entry)
        if name in tensors:
            continue
        assert name in refusal(tensors | {name: torch.empty(64, device="meta")}, entry)
