"""Estimates of memory, arithmetic and time: closed forms, scaling, and one real training to compare with."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso.devices import GIB, HOLES
from gesso.errors import ConfigError
from gesso.estimates import CERTAIN, MIB, RUNTIME, Estimate, estimate, refuse_too_little_memory
from gesso.labels import Semantics
from gesso.networks import frugal
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.pix2pixhd import InstanceEncoder
from gesso.recipes import pix2pixhd, spade
from gesso.recipes.protocol import Batch, Engine, Players, TrainingConfig

SMALL = pix2pixhd.PRESETS["pix2pixhd-small"]
PUBLISHED = pix2pixhd.PRESETS["pix2pixhd-cityscapes-512p"]
CAMVID = Semantics(classes=11, dont_care=True, boundary=True)
CITYSCAPES = Semantics(classes=35, boundary=True)


def of_small(size: tuple[int, int] = (64, 128), *, measure: bool = False, **changes: Any) -> Estimate:
    return estimate(pix2pixhd, SMALL.model_copy(update=changes), CAMVID, size, measure=measure)


# -------------------------------------------------------------------------------------------------------- closed forms

SCRATCH = 3 * MIB  # what the step below allocates and frees again, in bytes


def one_layer(config: Any, semantics: Semantics) -> Players:
    layer = nn.Conv2d(semantics.channels, 3, 1, bias=False)
    assert layer.weight.is_meta
    return Players({"generator": layer})


def multiply(
    config: Any, players: Players, optimizers: Mapping[str, Any], parts: Sequence[Batch], engine: Engine
) -> dict[str, Tensor]:
    assert not optimizers
    for batch in parts:
        fake = players.trained["generator"](batch["semantics"])
        engine.backward(fake.sum() / len(parts))
        scratch = torch.empty(SCRATCH, dtype=torch.uint8, device=fake.device)
        assert scratch.view(-1, 2).shape[0] == SCRATCH // 2  # a view needs nothing
        del scratch
    return {}


LINEAR: Any = SimpleNamespace(build=one_layer, optimizers=lambda config, players: {}, train_step=multiply)


@pytest.mark.parametrize(("accumulate", "ema"), [(1, 0.0), (2, 0.0), (4, 0.9)])
def test_closed_form(accumulate: int, ema: float) -> None:
    config = TrainingConfig(batch=4, accumulate=accumulate, ema=ema)
    found = estimate(LINEAR, config, Semantics(source_channels=5), (16, 32), measure=False)
    pixels, weights = 4 * 16 * 32, 4 * 5 * 3
    assert found.parameters == {"generator": 15}
    assert found.flops == 2 * (2 * 5 * 3 * pixels)  # forward, and backward for the weights alone
    assert found.seconds is None
    # The batch of semantics and photographs, the gradient, what is left of the loss, and the scratch tensor.
    least = RUNTIME + weights * (3 + (ema > 0)) + HOLES * (pixels * 4 * (5 + 3) + weights + SCRATCH)
    assert least <= found.memory <= least + HOLES * pixels * 4 * 3 + 100


def test_parameters_are_those_of_the_real_networks() -> None:
    found = estimate(pix2pixhd, PUBLISHED, CITYSCAPES, (64, 128), measure=False).parameters
    assert found["generator"] == 182_546_755  # the published 512p generator on 36 channels
    assert found["vgg"] == 12_944_960  # the first 13 convolutions of VGG-19
    real = pix2pixhd.build(SMALL, CAMVID).trained
    assert of_small().parameters == {n: sum(p.numel() for p in network.parameters()) for n, network in real.items()}


# ------------------------------------------------------------------------------------------------------------- scaling


def test_twice_the_size_takes_four_times_the_arithmetic_and_activations() -> None:
    small, large = of_small((128, 256)), of_small((256, 512))
    assert large.flops / small.flops == pytest.approx(4, rel=0.06)  # the discriminators' padding grows less
    trained, averaged = sum(small.parameters.values()), small.parameters["generator"]
    lasting = RUNTIME + 4 * (3 * trained + averaged)
    assert (large.memory - lasting) / (small.memory - lasting) == pytest.approx(4, rel=0.1)


def test_memory_grows_with_the_batch_and_falls_with_accumulation() -> None:
    one, four, split = of_small(), of_small(batch=4), of_small(batch=4, accumulate=4)
    assert one.memory < split.memory < four.memory
    assert four.flops == split.flops == 4 * one.flops
    waiting = 3 * 64 * 128 * (4 * (13 + 3) + 2 * 8)  # bytes of the three other parts of the batch
    assert split.memory - one.memory == pytest.approx(waiting + 4 * one.parameters["generator"], abs=8 * MIB)


def test_averaged_weights_take_a_copy_of_the_generator() -> None:
    gained = of_small().memory - of_small(ema=0.0).memory
    assert gained == 4 * of_small().parameters["generator"]


def test_processes_share_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = of_small(batch=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert of_small(batch=4) == alone


@pytest.mark.long
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("recipe", [spade, pix2pixhd])
def test_strips_are_counted_like_the_whole(monkeypatch: pytest.MonkeyPatch, recipe: Any, precision: str) -> None:
    """SPADE's discriminator learns from pictures made without gradients, in strips; the last one overlaps the one before."""
    size = {"resize": "fixed", "height": 96, "width": 64}
    config = recipe.Config(generator_width=2, discriminator_width=2, precision=precision, **size)

    def only_generate(config: Any, players: Players, _: Any, parts: Sequence[Batch], __: Engine) -> dict[str, Tensor]:
        with torch.no_grad():
            recipe.generate(config, players.trained, parts[0])
        return {}

    forward: Any = SimpleNamespace(build=recipe.build, optimizers=recipe.optimizers, train_step=only_generate)
    whole = estimate(forward, config, CAMVID, (96, 64), measure=False).flops
    cut: list[int] = []
    original = frugal._tops
    monkeypatch.setattr(frugal, "_tops", lambda *shape: cut.append(shape[0] % shape[1]) or original(*shape))
    for name, value in {"LARGE": 0, "STRIP": 1, "SHARED": 20}.items():
        monkeypatch.setattr(frugal, name, value)
    assert estimate(forward, config, CAMVID, (96, 64), measure=False).flops == pytest.approx(whole, rel=1e-6)
    assert any(cut), "nothing was cut, or no strip overlaps another"


def test_time_follows_arithmetic() -> None:
    small, large = of_small((64, 128), measure=True), of_small((256, 512), measure=True)
    assert small.seconds and large.seconds
    assert 1 < large.seconds / small.seconds <= large.flops / small.flops
    assert 1e9 < small.flops / small.seconds < 1e15, "between a very slow core and the fastest GPUs"


# -------------------------------------------------------------------------------------------------- recipes and errors


def build_with_encoder(config: Any, semantics: Semantics) -> Players:
    players = pix2pixhd.build(config, semantics.model_copy(update={"classes": semantics.classes + 3}))
    players.trained["discriminator"] = pix2pixhd.build(config, semantics).trained["discriminator"]
    players.trained["encoder"] = InstanceEncoder(features=3)
    return players


def test_pooling_over_instances_is_estimated_too() -> None:
    with_encoder: Any = SimpleNamespace(
        build=build_with_encoder, optimizers=pix2pixhd.optimizers, train_step=pix2pixhd.train_step
    )
    found = estimate(with_encoder, SMALL, CAMVID, (64, 128), measure=False)
    assert found.parameters["encoder"] == sum(p.numel() for p in InstanceEncoder(features=3).parameters())
    assert found.memory > of_small().memory + 4 * 4 * found.parameters["encoder"]  # weights, moments, average
    assert found.flops > of_small().flops


def test_a_size_that_the_network_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        of_small((60, 128))


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_single_value_per_channel_is_refused_in_words(norm: str) -> None:
    with pytest.raises(ConfigError, match=r"16x16 shrink to 1x1 inside the networks.*--generator-downs.*--batch"):
        of_small((16, 16), norm=norm, generator_downs=4, generator_blocks=0)
    if norm == "batch":
        assert of_small((16, 16), norm=norm, generator_downs=4, generator_blocks=0, batch=2).flops


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        estimate(pix2pixhd, SMALL, CAMVID, (64, 128), device="cuda:99")


# ------------------------------------------------------------------------------------------------------ saving memory


def build_with_checkpointing(config: Any, semantics: Semantics) -> Players:
    players = pix2pixhd.build(config, semantics)
    for network in players.trained.values():
        checkpoint_activations(network, config.checkpoint_activations)
    return players


SAVING: Any = SimpleNamespace(
    NAME="saving",
    build=build_with_checkpointing,
    optimizers=pix2pixhd.optimizers,
    train_step=pix2pixhd.train_step,
    multiple=pix2pixhd.multiple,
)
FULL_SIZE = pix2pixhd.Config(generator_width=32, enhancers=1, discriminator_scales=3, checkpoint_activations=True)


def test_the_published_step_at_2048x1024_takes_seven_gibibytes() -> None:
    """Measured: 6.7 GiB; the paper's size without the perceptual loss."""
    found = estimate(SAVING, FULL_SIZE, CITYSCAPES, (1024, 2048), measure=False)
    assert found.memory == pytest.approx(6822 * MIB, rel=0.1)
    kept = FULL_SIZE.model_copy(update={"checkpoint_activations": False})
    assert estimate(SAVING, kept, CITYSCAPES, (1024, 2048), measure=False).memory > 1.5 * found.memory


def test_computing_activations_again_takes_arithmetic_instead_of_memory() -> None:
    changed = SMALL.model_copy(update={"checkpoint_activations": True})
    kept, again = (estimate(SAVING, config, CAMVID, (256, 512), measure=False) for config in (SMALL, changed))
    assert again.memory < kept.memory - 100 * MIB
    assert 1.2 * kept.flops < again.flops < 1.5 * kept.flops


def test_mixed_precision_takes_less_memory_for_the_same_arithmetic() -> None:
    full, mixed = of_small((256, 512)), of_small((256, 512), precision="bf16-mixed")
    assert 0.8 * full.memory < mixed.memory < 0.95 * full.memory  # measured: 700 of 811 MiB
    assert mixed.flops == full.flops


def test_what_is_frozen_has_no_gradients_and_no_moments() -> None:
    trained = of_small()
    frozen = estimate(pix2pixhd, SMALL, CAMVID, (64, 128), measure=False, frozen=("generator.trunk.",))
    trunk = trained.parameters["generator"] - (7 * 7 * SMALL.generator_width + 1) * 3
    assert frozen.parameters == trained.parameters
    assert trained.memory - frozen.memory > 3 * 4 * trunk
    assert frozen.flops < 0.8 * trained.flops


@pytest.mark.long
@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            SMALL.model_copy(update={"batch": 4}),
            r"2048x4096 needs about \d\d\.\d GiB, but only 4\.0 GiB are free on cpu. What helps: "
            r"--checkpoint-activations \(then about \d+\.\d GiB\); --accumulate 4 \(.*--precision bf16-mixed \(.*"
            r"all of these together \(about \d+\.\d GiB\); half the size besides, by --height and --width or --crop \(\d\.",
        ),
        (
            SMALL.model_copy(update={"precision": "bf16-mixed", "checkpoint_activations": True}),
            r"needs about \d+\.\d GiB, .* What helps: half the size, by --height and --width or --crop \(\d\.\d GiB\)\.$",
        ),
    ],
)
def test_too_little_memory_is_said_with_what_helps(
    monkeypatch: pytest.MonkeyPatch, config: pix2pixhd.Config, named: str
) -> None:
    monkeypatch.setattr("gesso.estimates.available_memory", lambda device: 4 * GIB)
    with pytest.raises(ConfigError, match=named):
        refuse_too_little_memory(SAVING, config, CITYSCAPES, (2048, 4096))


def test_enough_memory_or_memory_that_is_not_known_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    least = of_small().memory - RUNTIME
    for free in (None, least, round(CERTAIN * least) + 1):
        monkeypatch.setattr("gesso.estimates.available_memory", lambda device, free=free: free)
        refuse_too_little_memory(pix2pixhd, SMALL, CAMVID, (64, 128))
    monkeypatch.setattr("gesso.estimates.available_memory", lambda device: round(CERTAIN * least) - 1)
    with pytest.raises(ConfigError, match="64x128 needs"):
        refuse_too_little_memory(pix2pixhd, SMALL, CAMVID, (64, 128))


# ------------------------------------------------------------------------------------------------------------- reality

REAL_TRAINING = """
    import json, sys, time
    from pathlib import Path
    import torch
    from gesso.data.spaces import published
    from gesso.estimates import estimate
    from gesso.labels import Semantics
    from gesso.recipes import pix2pixhd
    from gesso.train import TrainingData, fit

    def peak():  # of this program alone; getrusage would count the memory of the one that started it
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    class Noise(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, key):
            label = torch.randint(0, 12, (128, 256))
            image = torch.rand(3, 128, 256) * 2 - 1
            return {"label": label, "instance": label, "image": image, "name": "noise", "size": (128, 256)}

    semantics = Semantics(classes=11, dont_care=True, boundary=True)
    config = pix2pixhd.PRESETS["pix2pixhd-small"].model_copy(update={"workers": 0})
    data = TrainingData(Noise(), None, published("camvid"), semantics, {}, {})
    fit(pix2pixhd, config, data, Path(sys.argv[1]), device="cpu", stop_at=3)
    trained, began = peak(), time.perf_counter()
    large = pix2pixhd.PRESETS["pix2pixhd-cityscapes-512p"]
    estimate(pix2pixhd, large, semantics, (512, 1024), measure=False)
    print(json.dumps({"training": trained, "estimating": peak() - trained, "seconds": time.perf_counter() - began}))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read as Linux tells it")
def test_memory_agrees_with_a_real_training_and_estimating_needs_little(tmp_path: Path) -> None:
    script = textwrap.dedent(REAL_TRAINING)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    real = json.loads(done.stdout.splitlines()[-1])
    assert of_small((128, 256)).memory == pytest.approx(real["training"], rel=0.2)
    assert real["estimating"] < 200 * MIB  # the networks themselves would need gigabytes
    assert real["seconds"] < 10


REAL_STEPS = """
    import json, sys
    from lightning_fabric import Fabric
    import torch
    import gesso.train
    from gesso.labels import Semantics
    from gesso.networks.frugal import checkpoint_activations
    from gesso.recipes import pix2pixhd

    config = pix2pixhd.Config.model_validate_json(sys.argv[1])
    height, width = map(int, sys.argv[2:])
    semantics = Semantics(classes=35, boundary=True)
    fabric = Fabric(accelerator="cpu", devices=1, precision=config.precision)
    players = pix2pixhd.build(config, semantics)
    for network in players.trained.values():
        checkpoint_activations(network, config.checkpoint_activations)
    optimizers = pix2pixhd.optimizers(config, players)
    players.trained = {name: fabric.setup_module(network) for name, network in players.trained.items()}
    for _ in range(2):  # in the second, the moments are there
        parts = []
        for _ in range(config.accumulate):
            label = torch.randint(0, 35, (config.batch // config.accumulate, height // 32, width // 32))
            label = label.repeat_interleave(32, 1).repeat_interleave(32, 2)
            batch = {"label": label, "instance": label, "image": torch.rand(len(label), 3, height, width) * 2 - 1}
            parts.append({**batch, "semantics": semantics.encode(batch)})
        pix2pixhd.train_step(config, players, optimizers, parts, fabric)
    lines = open("/proc/self/status").readlines()
    print(json.dumps(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))))
"""
MIDDLE = pix2pixhd.Config(
    generator_width=16,
    generator_downs=3,
    generator_blocks=6,
    enhancers=1,
    discriminator_width=48,
    discriminator_scales=3,
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read as Linux tells it")
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (MIDDLE, (256, 512)),
        (MIDDLE.model_copy(update={"checkpoint_activations": True}), (512, 1024)),
        (MIDDLE.model_copy(update={"checkpoint_activations": True, "batch": 4, "accumulate": 4}), (256, 512)),
        (MIDDLE.model_copy(update={"precision": "bf16-mixed"}), (512, 1024)),
        (SMALL.model_copy(update={"instance_features": True}), (256, 512)),
        (FULL_SIZE, (1024, 2048)),
    ],
    ids=["middle", "checkpointed", "accumulated", "bf16", "features", "published"],
)
def test_memory_agrees_with_real_steps(config: pix2pixhd.Config, size: tuple[int, int]) -> None:
    """The published networks at 2048x1024 take minutes and seven gibibytes."""
    command = [sys.executable, "-c", textwrap.dedent(REAL_STEPS), config.model_dump_json(), *map(str, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured < 10 * GIB
    alone = config.model_copy(update={"ema": 0.0})  # the steps above keep no averages
    assert estimate(SAVING, alone, CITYSCAPES, size, measure=False).memory == pytest.approx(measured, rel=0.2)


def test_the_published_preset_is_estimated_quickly() -> None:
    began = time.perf_counter()
    found = estimate(pix2pixhd, PUBLISHED, CITYSCAPES, (512, 1024), measure=False)
    assert time.perf_counter() - began < 10
    assert 6 * 2**30 < found.memory < 12 * 2**30
    # The generator forward takes 0.98 TFLOP, with backward thrice that; discriminators and VGG come on top.
    assert 3 * 0.98e12 < found.flops < 2 * 3 * 0.98e12
