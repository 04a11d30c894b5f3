"""A whole training step of SPADE against the official code's numbers: losses, every parameter, every buffer, photographs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from gesso import labels
from gesso.importers import load_official
from gesso.recipes import spade
from gesso.recipes.protocol import Players
from heard import Heard
from support import Golden, PlainEngine, weights

ITEM = "A8_spade_step"
NAMES = {"G_gan": "GAN", "G_features": "GAN_Feat", "D_fake": "D_Fake", "D_real": "D_real"}
GANS = {"hinge": "hinge", "ls": "lsgan", "original": "vanilla", "w": "wasserstein"}
Meta = dict[str, Any]
Tensors = dict[str, Tensor]

pytestmark = pytest.mark.usefixtures("one_thread")


class Side(NamedTuple):
    """A network of the step, with its weights under the official names."""

    kind: str
    config: dict[str, Any]
    official: Tensors

    def load(self, tensors: Tensors) -> nn.Module:
        return load_official(tensors, self.kind, **self.config)

    def ours(self) -> dict[str, str]:
        """Official names -> ours, found by loading numbered tensors."""
        numbered = {name: torch.full_like(tensor, i) for i, (name, tensor) in enumerate(self.official.items(), start=1)}
        numbers = {int(tensor.flatten()[0]): name for name, tensor in self.load(numbered).state_dict().items()}
        return {name: numbers[i] for i, name in enumerate(self.official, start=1)}


class Step:
    """The networks before the step, the batch, and the settings of the official run."""

    def __init__(self, golden: Golden, dtype: torch.dtype) -> None:
        self.meta, self.outputs = golden(ITEM)
        config = self.meta["config"]
        stored: Tensors = {}
        for file in config["weights_from"]:
            stored |= golden(file.removesuffix(".safetensors"))[1]
        upsampling = config["variant"]["num_up"]
        shared = {n: t for n, t in weights(stored, "net.").items() if upsampling == "most" or not n.startswith("up_4.")}
        self.sides = {
            "generator": Side(
                "spade.generator", {"upsampling": upsampling}, shared | weights(stored, f"net_{upsampling}.")
            ),
            "discriminator": Side("spade.discriminator", {}, weights(stored, "netD.")),
        }
        networks = {name: side.load(side.official).to(dtype).train() for name, side in self.sides.items()}
        self.players = Players(networks)
        batch = re.split(r"[. ]", config["batch_from"])[0]
        _, tensors = golden(batch)
        self.batch = {"semantics": self._semantics(tensors).to(dtype), "image": tensors["in.batch.image"].to(dtype)}
        self.config = self._config(config)
        self.optimizers = spade.optimizers(self.config, self.players)

    def _semantics(self, tensors: Tensors) -> Tensor:
        config = self.meta["config"]
        label, classes = tensors["in.batch.label"][:, 0].long(), config["label_nc"]
        label = torch.where(label == 255, classes, label)
        instance = tensors["in.batch.inst"][:, 0].long() if config["edge"] else None
        return labels.encode(label, instance, classes=classes, dont_care=config["dontcare"], boundary=config["edge"])

    def _config(self, config: Meta) -> spade.Config:
        """The learning rates come out of one, as in the official code; decays are not given: they go with TTUR."""
        base = config["adam_G"]["lr"] * (1 if config["no_TTUR"] else 2)
        ours = spade.Config(
            lr=base,
            ttur=not config["no_TTUR"],
            gan=GANS[config["gan_mode"]],  # type: ignore[arg-type]
            lambda_features=config["lambda_feat"],
            batch=len(self.batch["image"]),
        )
        rates = spade.learning_rates(ours, 0)
        for side, adam in (("generator", config["adam_G"]), ("discriminator", config["adam_D"])):
            assert math.isclose(rates[side], adam["lr"], rel_tol=1e-12)
            assert list(ours.betas) == adam["betas"]
        return ours

    def train(self) -> dict[str, float]:
        found = spade.train_step(self.config, self.players, self.optimizers, [self.batch], PlainEngine())
        return {name: value.item() for name, value in found.items()}

    def fake(self, training: bool) -> Tensor:
        generator = self.players.trained["generator"].train(training)
        with torch.no_grad():
            return generator(self.batch["semantics"])

    def parameters(self) -> Iterator[tuple[str, str, nn.Parameter, Tensor]]:
        """Side, official name, the parameter, and what it was before the step."""
        for short, name in (("netG", "generator"), ("netD", "discriminator")):
            side, ours = self.sides[name], dict(self.players.trained[name].named_parameters())
            for official, mine in side.ours().items():
                if mine in ours:
                    yield short, official, ours[mine], side.official[official].to(ours[mine].dtype)


def close(ours: float, theirs: float, relative: float, slack: float, what: str) -> None:
    assert math.isclose(ours, theirs, rel_tol=relative, abs_tol=slack), f"{what}: {ours!r} is not {theirs!r}"


def same_losses(golden: Golden, step: Step, iteration: int, kind: str, relative: float) -> None:
    found, expected = step.train(), step.meta[f"losses_iter{iteration}"][kind]
    for ours, theirs in NAMES.items():
        close(found[ours], expected[theirs], relative, 1e-12, f"iteration {iteration} {theirs}")
        golden.count(ITEM)


def test_step_in_float64(golden: Golden) -> None:
    """Losses of two iterations; after the first the state of every parameter and buffer."""
    step = Step(golden, torch.float64)
    same_losses(golden, step, 1, "f64", 1e-9)
    seen = 0
    for short, name, parameter, old in step.parameters():
        new = parameter.detach()
        assert parameter.grad is not None
        # The columns say: norm of the gradient, then of the parameter after the step and of its change.
        found = [parameter.grad.norm(), new.sum(), new.norm(), (new - old).norm(), (new - old).sum()]
        # A gradient that is zero in mathematics is rounding noise, also in float64: 1e-15 becomes a step of 1e-11.
        slack = 1e-8 if name in step.meta[short]["noise_grad"] else 1e-10
        expected = step.meta[short]["per_param"][name]["f64"]
        for column, ours, theirs in zip(step.meta[short]["columns"], found, expected, strict=True):
            close(ours.item(), theirs, 1e-8, slack, f"{short} {name} {column}")
            golden.count(ITEM)
        seen += 1
    assert seen == sum(len(step.meta[short]["per_param"]) for short in ("netG", "netD"))
    _same_buffers(golden, step)
    same_losses(golden, step, 2, "f64", 1e-8)


def _same_buffers(golden: Golden, step: Step) -> None:
    """u, v and running statistics after two forwards of each network in train mode."""
    for short, name in (("netG", "generator"), ("netD", "discriminator")):
        assert set(step.meta[short]["buffers_after"]) - {"columns"} or not list(step.players.trained[name].buffers()), (
            short
        )
        names, state = step.sides[name].ours(), step.players.trained[name].state_dict()
        for official, expected in step.meta[short]["buffers_after"].items():
            if official == "columns":
                continue
            ours = state[names[official]]
            if isinstance(expected, int):
                assert ours.item() == expected, official
            else:
                close(ours.sum().item(), expected[2], 1e-8, 1e-9, official)
                close(ours.norm().item(), expected[3], 1e-8, 1e-9, official)
            golden.count(ITEM)


def test_step_in_float32(golden: Golden) -> None:
    """Losses of two iterations, and gradients of the first, as near as the official code's own rounding errors allow."""
    step = Step(golden, torch.float32)
    same_losses(golden, step, 1, "f32", 1e-5)
    heard = Heard(step.meta, "netG", "netD")
    for short, name, parameter, _ in step.parameters():
        assert parameter.grad is not None
        if name not in step.meta[short]["noise_grad"]:
            entry = step.meta[short]["per_param"][name]
            bound = max(20 * entry["grad_rel_err_f32"], 1e-5)
            close(parameter.grad.norm().item(), entry["f64"][0], bound, 1e-7, f"{short} {name}")
            with heard.of(short):
                golden.count(ITEM)
    heard.check()
    same_losses(golden, step, 2, "f32", 1e-4)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_photographs_after_the_step(golden: Golden, mode: str) -> None:
    """In float64, where no rounding noise is made into steps; the item's own are float32."""
    step = Step(golden, torch.float64)
    step.train()
    heard = Heard(step.meta)
    with heard.of(key := f"out.fake_after_{mode}"):
        golden.agree(step.meta, key, step.fake(mode == "train"), step.outputs)
    heard.check(step.outputs)


def test_one_perturbed_weight_is_noticed(golden: Golden) -> None:
    step = Step(golden, torch.float64)
    with torch.no_grad():
        next(step.players.trained["discriminator"].parameters())[0, 0] += 0.05
    with pytest.raises(AssertionError, match="is not"):
        same_losses(golden, step, 1, "f64", 1e-9)
