"""Which samples each training step sees, in which process, and how they get there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from torch.utils.data import DataLoader, Dataset, Sampler

from gesso.data.dataset import collate
from gesso.errors import ConfigError, DataError, GessoError
from gesso.labels import Semantics
from gesso.networks.indexed import indexed
from gesso.recipes.protocol import TrainingConfig


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Keys (index, epoch) of each part of each step, for one process.

    The data are an endless row of shuffled passes, cut into steps of `batch`: no sample is dropped, the last batch of a
    pass is as large as any, and what a step sees does not depend on the number of processes.

    Raises:
        ConfigError: The batch cannot be shared out evenly.
    """

    def __init__(self, samples: int, config: TrainingConfig, first: int, last: int, rank: int, world: int) -> None:
        if config.batch % (world * config.accumulate):
            raise ConfigError(
                f"--batch {config.batch} cannot be shared by {world} processes in {config.accumulate} parts each; "
                f"choose a multiple of {world * config.accumulate}."
            )
        self.samples, self.config, self.steps = samples, config, range(first, last)
        self.part = config.batch // (world * config.accumulate)
        self.offset = rank * config.accumulate * self.part

    def __len__(self) -> int:
        return len(self.steps) * self.config.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, shuffled = np.arange(0), -1
        for step in self.steps:
            for number in range(self.config.accumulate):
                keys = []
                for place in range(self.part):
                    position = step * self.config.batch + self.offset + number * self.part + place
                    epoch, within = divmod(position, self.samples)
                    if epoch != shuffled:
                        random = np.random.default_rng((self.config.seed, epoch))
                        order, shuffled = random.permutation(self.samples), epoch
                    keys.append((int(order[within]), epoch))
                yield keys


def parts_of_steps(
    fabric: Fabric,
    config: TrainingConfig,
    items: Dataset[dict[str, Any]],
    semantics: Semantics,
    first: int,
    last: int,
    codes: bool = False,
) -> Iterator[list[dict[str, Any]]]:
    """The parts of the batch of each step from `first` up to `last`, on the device, with semantics, perhaps as codes too."""
    samples = len(items)  # type: ignore[arg-type]
    sampler = StepSampler(samples, config, first, last, fabric.global_rank, fabric.world_size)
    pinned = fabric.device.type == "cuda"
    stream = iter(DataLoader(_Batches(items), None, sampler=sampler, num_workers=config.workers, pin_memory=pinned))
    for _ in range(first, last):
        parts = [fabric.to_device(_sound(next(stream))) for _ in range(config.accumulate)]
        yield [with_semantics(part, semantics, codes) for part in parts]


class _Batches(Dataset[dict[str, Any] | GessoError]):
    """Whole batches by their keys, or the error that they met: raised in a worker it would come with a traceback inside."""

    def __init__(self, items: Dataset[dict[str, Any]]) -> None:
        self.items = items

    def __getitem__(self, keys: list[tuple[int, int]]) -> dict[str, Any] | GessoError:
        try:
            return collate([self.items[key] for key in keys])
        except GessoError as error:
            return error


def _sound(batch: dict[str, Any] | GessoError) -> dict[str, Any]:
    if isinstance(batch, GessoError):
        raise batch
    return batch


def with_semantics(batch: dict[str, Any], semantics: Semantics, codes: bool = False) -> dict[str, Any]:
    """The batch with its semantics added, and as `seen` those of the bent layouts, where there are any.

    Args:
        batch: As `gesso.data.dataset.collate` gives it, on the device.
        semantics: What they are made of.
        codes: Whether what the generator sees, `seen` if there is one, is added as `codes` as well, an
            `gesso.networks.indexed.Indexed`, where it comes from label maps.

    Raises:
        DataError: Source pictures have another number of channels than the first one of the data.
    """
    found = semantics.encode(batch)  # (B, channels, H, W)
    if found.shape[1] != semantics.channels:
        raise DataError(
            f"The source pictures {', '.join(batch['name'])} have {found.shape[1]} channels, the networks take "
            f"{semantics.channels}, as many as the first picture has. Bring all to one number of channels."
        )
    added: dict[str, Any] = {"semantics": found}
    layout = batch
    if "seen_label" in batch:
        layout = {"label": batch["seen_label"], "instance": batch.get("seen_instance")}
        added["seen"] = semantics.encode(layout)
    if codes and (few := indexed(semantics, layout)):
        added["codes"] = few
    return {**batch, **added}
