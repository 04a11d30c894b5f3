"""The flags of `gesso evaluate --as-training-data`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gesso.cli.evaluation_settings import EvaluationSettings
from gesso.errors import ConfigError

TAKEN = frozenset(
    {"split", "train_split", "size", "seed", "resamples", "limit", "device"}
)  # flags of measuring that it knows


@Parameter(name="*", group="Generated photographs as training data")
@dataclass(frozen=True)
class TrainingDataFlags:
    """What generated photographs are worth: a segmenter learns from real ones, generated ones and both; tests are on real ones.

    Attributes:
        as_training_data: Folder of a dataset that gesso generate --dataset wrote, instead of models. DATA holds the real
            photographs: those of --train-split are learned from, those of --split tested on.
        minutes: How long each training takes, about: a rehearsal says how many steps that are, the same for every row.
        steps: How many steps each training takes, instead.
        seeds: Trainings of each row: --seed, --seed + 1 and so on.
    """

    as_training_data: Path | None = None
    minutes: float | None = None
    steps: int | None = None
    seeds: int = 1

    def check(self, models: list[str], settings: EvaluationSettings) -> None:
        """See that the flags make sense.

        Raises:
            ConfigError: They contradict each other, or a number is out of range.
        """
        generated = self.as_training_data
        if generated is None:
            for field in fields(self):
                if (value := getattr(self, field.name)) != field.default:
                    raise ConfigError(f"--{field.name} {value} is for --as-training-data GENERATED: give that too.")
            return
        if models:
            raise ConfigError(
                f"{models[0]}: --as-training-data tests what a dataset is worth, not models. Leave out one of them; gesso "
                "generate --dataset makes a dataset with a model."
            )
        if self.minutes is not None and self.steps is not None:
            raise ConfigError("--minutes and --steps both say how long a training is: choose one.")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ConfigError(f"--minutes {self.minutes:g}: more than 0.")
        for name in ("steps", "seeds"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"--{name} {value}: at least 1.")
        plain = EvaluationSettings()
        for name, value in vars(settings).items():
            if name not in TAKEN and value != getattr(plain, name):
                raise ConfigError(
                    f"--{name.replace('_', '-')} is for measuring models; --as-training-data takes "
                    f"{', '.join('--' + flag.replace('_', '-') for flag in sorted(TAKEN))}."
                )


Experiment = Annotated[TrainingDataFlags | None, Parameter(name="*")]
