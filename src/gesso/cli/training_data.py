"""How `gesso evaluate --as-training-data` runs its experiment; what was done once is kept in the folder of results."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import DataFlags, installed_versions, track
from gesso.cli.evaluation_protocol import PACKAGES
from gesso.cli.evaluation_settings import EvaluationSettings
from gesso.cli.training_data_flags import TrainingDataFlags
from gesso.cli.training_data_sets import Sets, augmentations, open_sets, refuse_out_inside
from gesso.errors import ConfigError, DataError, ModelFileError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.evaluate.training_data import Conditions, TrainingData, Trial
    from gesso.segmenter_training import SegmenterSettings
    from gesso.synthesis.segmenter import TrainedSegmenter

FILE, PAGE, PLAN, ROWS = "training-data.json", "training-data.html", "plan.json", "rows"
REHEARSED = (
    2,
    20,
)  # steps of the short trainings that tell how long one takes; of the second twice as many until that is known
ENOUGH = 10.0  # seconds of steps that tell it, or a tenth of what is asked for
SHOWN = 3  # photographs of each kind in the report


def run_experiment(
    flags: TrainingDataFlags,
    data: Path | None,
    where: DataFlags,
    settings: EvaluationSettings,
    out: Path,
    console: Console,
) -> TrainingData:
    """Train a segmenter on real, generated and both, test each on real photographs; write everything into a folder.

    An interrupted experiment goes on: trainings that are done, and their scores, are kept in OUT/rows.

    Args:
        flags: The generated dataset, and how long each training is.
        data: Folder of the real dataset.
        where: How that is read.
        settings: Splits, size, seed, draws, device.
        out: Folder for training-data.json and training-data.html.
        console: Where progress is shown.

    Raises:
        GessoError: Something cannot be read, trained or measured; the message says what, and what to do.
    """
    from gesso.devices import choose_device
    from gesso.evaluate.numbers import Sampling
    from gesso.evaluate.training_data import SOURCES, TrainingData, summarise
    from gesso.evaluate.training_data_words import findings

    settings.check()
    assert flags.as_training_data is not None
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a folder.")
    refuse_out_inside(out, data, flags.as_training_data)
    device = choose_device(settings.device)
    sets = open_sets(flags.as_training_data, data, where, settings)
    bench = _Bench(sets, flags, settings, device, out, console)
    bench.say_split()
    bench.plan()
    trials = {source: [bench.trial(source, settings.seed + n) for n in range(flags.seeds)] for source in SOURCES}
    rows = summarise(trials, sets.space.names, Sampling(settings.resamples, settings.seed))
    found = TrainingData(conditions=bench.conditions(data), rows=rows, findings=findings(rows, len(sets.held_out)))
    _write(found, sets, out)
    return found


@dataclass
class _Bench:
    """Where trainings are made and tested, or found again."""

    sets: Sets
    flags: TrainingDataFlags
    settings: EvaluationSettings
    device: str
    out: Path
    console: Console
    steps: int = 0

    def say_split(self) -> None:
        """Say where generated photographs are of another split than real ones: it was the only one there."""
        sets = self.sets
        if sets.generated_split != sets.train_split:
            self._say(
                f"{self.flags.as_training_data} has no split {sets.train_split}: its only one, {sets.generated_split}, is "
                "learned from."
            )

    # -------------------------------------------------------------------------------------------------------- how long

    def plan(self) -> None:
        """Find the number of steps, the same for every training, and keep it with what it holds for.

        Raises:
            ConfigError: The folder holds an experiment of other data or settings.
        """
        from gesso.checkpoints import write_safely

        path, asked = self.out / PLAN, self._asked()
        if path.is_file():
            there = self._read(path)
            if differ := [key for key in asked if there.get(key) != asked[key]]:
                raise ConfigError(
                    f"{self.out} holds an experiment of other {' and '.join(_SAID.get(key, key) for key in differ)}: give "
                    "the same again to go on with it, or another --out."
                )
            self.steps = int(there["steps of each"])
            return
        self.steps = self._count()
        text = json.dumps({**asked, "steps of each": self.steps}, indent=1) + "\n"
        write_safely(path, lambda temporary: _text(temporary, text))

    def _asked(self) -> dict[str, Any]:
        """What decides the trainings and their scores, but for how many there are."""
        return {
            "minutes": self.flags.minutes,
            "steps": self.flags.steps,
            "size": list(self.sets.size),
            "seed": self.settings.seed,
            **self.digests(),
        }

    def digests(self) -> dict[str, str]:
        """Over the files of all photographs and label maps."""
        from gesso.segmenter_training.photographs import held_out_digest

        named = {"real": self.sets.real, "generated": self.sets.generated, "held out": self.sets.held_out}
        return {name: held_out_digest(dataset, self.console) for name, dataset in named.items()}

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found["steps of each"], int) else {}
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} is damaged: remove it, or give another --out.") from None

    def _count(self) -> int:
        from gesso.segmenter_training import SegmenterSettings

        if self.flags.minutes is None:
            return self.flags.steps or SegmenterSettings().steps
        with self.console.status("a rehearsal: how long a step takes"):
            step = self._seconds_of_a_step(60 * self.flags.minutes)
        count = max(1, round(60 * self.flags.minutes / step))
        self._say(
            f"A step takes {step:.2f} s: {count} steps in {self.flags.minutes:g} minutes, the same for every row."
        )
        return count

    def _seconds_of_a_step(self, budget: float) -> float:
        """What is left when a short training is taken off a longer one: with it goes what comes before the first step."""
        few, steps = REHEARSED
        self._rehearsed(few)  # the first one of a process takes longer
        before = self._rehearsed(few)
        while (spent := self._rehearsed(steps) - before) < min(ENOUGH, budget / 10) and steps < budget / 1e-3:
            steps *= 2
        return max(spent / (steps - few), 1e-4)

    def _rehearsed(self, steps: int) -> float:
        """Seconds of a short training, with what comes before its first step."""
        from gesso.segmenter_training import SegmenterSettings, train_segmenter

        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            how = SegmenterSettings(steps=steps)
            train_segmenter(
                self.sets.real, None, Path(folder) / "rehearsal.safetensors", settings=how, device=self.device
            )
            return time.perf_counter() - began

    # -------------------------------------------------------------------------------------------------------- one by one

    def trial(self, source: str, seed: int) -> Trial:
        """One training with its score: as it was kept, or made now."""
        from gesso.evaluate.training_data import Trial
        from gesso.segmenter_training import SegmenterSettings, data_digest
        from gesso.segmenter_training.photographs import held_out_digest

        how = SegmenterSettings(steps=self.steps, seed=seed)
        learned = self.sets.learned(source)
        digests = data_digest(learned, how), held_out_digest(self.sets.held_out)
        path = self.out / ROWS / f"{source}-seed{seed}.json"
        if path.is_file():
            try:
                kept = Trial.read(path)
            except DataError:
                kept = None  # cut off: it is made again
            if kept and (kept.learned, kept.tested) == digests:
                return kept
        return self._made(source, how, learned, digests, path)

    def _made(
        self, source: str, how: SegmenterSettings, learned: SemanticDataset, digests: tuple[str, str], path: Path
    ) -> Trial:
        from gesso.evaluate.training_data import Trial, counted

        segmenter, seconds = self._trained(source, how, learned, digests[0], path.with_suffix(".safetensors"))
        trial = Trial(
            source=source,
            seed=how.seed,
            steps=how.steps,
            seconds=seconds,
            photographs=len(learned),
            learned=digests[0],
            tested=digests[1],
            segmenter=segmenter.name,
            pictures=counted(self._scored(segmenter, source)),
        )
        trial.save(path)
        return trial

    def _trained(
        self, source: str, how: SegmenterSettings, learned: SemanticDataset, digest: str, path: Path
    ) -> tuple[TrainedSegmenter, float | None]:
        """The segmenter of a row, and the seconds of its training; None of one that was not made in one piece."""
        from gesso.segmenter_training import train_segmenter
        from gesso.synthesis.segmenter import load_segmenter

        try:
            kept = load_segmenter(path, self.device)
            if kept.info and kept.info.data_digest == digest:
                return kept, None
        except ModelFileError:
            pass  # not there yet, or damaged
        self._say(f"Training on {source}: {len(learned)} photographs, {how.steps} steps, seed {how.seed}.")
        whole = not path.with_name(f".{path.name}.state").exists()
        began = time.perf_counter()
        found = train_segmenter(
            learned, None, path, settings=how, device=self.device, console=self.console, origin=f"{source} photographs"
        )
        return found, time.perf_counter() - began if whole else None

    def _scored(self, segmenter: TrainedSegmenter, source: str) -> Any:
        from gesso.evaluate.segmentation import ConfusionMatrix
        from gesso.pictures import to_uint8

        held_out, matrix = self.sets.held_out, ConfusionMatrix(len(self.sets.space))
        for number in track(range(len(held_out)), f"testing {source}", len(held_out), self.console):
            item = held_out[number]
            matrix.update(item["label"].numpy(), segmenter(to_uint8(item["image"])), item["name"])
        return matrix

    # ------------------------------------------------------------------------------------------------------------ facts

    def conditions(self, data: Path | None) -> Conditions:
        """Everything that the numbers hold for."""
        import torch

        from gesso.evaluate.training_data import Conditions
        from gesso.segmenter_training import SegmenterSettings

        assert data is not None and self.flags.as_training_data is not None
        sets, made = self.sets, self.sets.made
        minutes = f"{self.flags.minutes:g} minutes as rehearsed on this machine: " if self.flags.minutes else ""
        how = SegmenterSettings(steps=self.steps).model_dump(mode="json", exclude={"seed"})
        return Conditions(
            data=_short(data),
            train_split=sets.train_split,
            split=sets.split,
            held_out=len(sets.held_out),
            generated=f"{_short(self.flags.as_training_data)} {sets.generated_split}",
            models=tuple(sorted({one.model for one in made})),
            layouts=len({one.source for one in made}),
            augmentations=augmentations(made),
            label_space=sets.space.name,
            classes=sets.space.names,
            size=sets.size,
            budget=f"{minutes}{self.steps} steps",
            settings=json.dumps(how, sort_keys=True),
            digests=self.digests(),
            device=self.device,
            threads=torch.get_num_threads(),
            resamples=self.settings.resamples,
            seed=self.settings.seed,
            versions=installed_versions(PACKAGES),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, markup=False, highlight=False)


_SAID = {"real": "real photographs", "generated": "generated photographs", "held out": "held-out photographs"}


def _write(found: TrainingData, sets: Sets, out: Path) -> None:
    from gesso.checkpoints import write_safely
    from gesso.evaluate.training_data_report import to_html

    found.save(out / FILE)
    page = to_html(found, [*_examples("real", sets.real), *_examples("generated", sets.generated)])
    write_safely(out / PAGE, lambda temporary: _text(temporary, page))


def _examples(kind: str, dataset: SemanticDataset) -> Sequence[tuple[str, Any, Any]]:
    """Photographs from all over a dataset, with their label maps in colours."""
    import numpy as np

    from gesso.pictures import layout_picture, to_uint8

    shown = []
    for number in np.unique(np.linspace(0, len(dataset) - 1, SHOWN).round().astype(int)).tolist():
        item = dataset[number]
        shown.append((f"{kind}: {item['name']}", to_uint8(item["image"]), layout_picture(item, dataset.space)))
    return shown


def _short(folder: Path) -> str:
    """The last two names of a folder: paths differ between machines."""
    return "/".join(folder.resolve().parts[-2:])


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
