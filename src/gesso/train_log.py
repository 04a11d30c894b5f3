"""What a run writes while it trains: log.jsonl, TensorBoard events, pictures of fixed samples; and what it shows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gesso.errors import TrainingError
from gesso.pictures import Picture, sheet
from gesso.recipes.monitors import MONITORS, Parting, Watch

RETRY = (
    "What was saved before is intact. Lower --lr, train with --precision 32-true, or run gesso doctor on the data; "
    "then run the command again to go on from the last saved state."
)
PLAIN_SECONDS = 30.0  # between lines where no progress bar can be drawn


class Clock:
    """Counts the seconds of training, over all attempts of a run.

    Args:
        seconds: Counted in earlier attempts.
        limit: Seconds at which training is to stop; infinity for never, None where nobody asked for the time.

    Attributes:
        limit: The same; infinity where there is none.
        asked: Whether the time belongs into saved states. It does not where nobody ever asked for it: states of equal trainings
            are equal, and times are not.
    """

    def __init__(self, seconds: float = 0.0, limit: float | None = None) -> None:
        self.limit = math.inf if limit is None else limit
        self.asked = limit is not None or seconds > 0
        self._counted = seconds
        self._since: float | None = None  # when it was started; None while it stands

    @property
    def seconds(self) -> float:
        """Counted so far."""
        return self._counted + (0.0 if self._since is None else time.perf_counter() - self._since)

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return self.seconds >= self.limit

    def start(self) -> None:
        """Go on counting."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stand still."""
        self._counted, self._since = self.seconds, None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still for what is not training."""
        self.stop()
        yield
        self.start()


class RunLog:
    """Collects losses and monitors as tensors and turns them into numbers only when a line is due.

    Monitors go to log.jsonl and TensorBoard; of them the console shows only warnings.

    Args:
        run: The run folder.
        step: Steps already taken; later lines of an earlier attempt are dropped from the log.
        total: Steps of the whole training.
        console: Where progress is shown; None for silence.
        clock: Of the training; where it has a limit, progress is shown in seconds instead of steps.
    """

    def __init__(self, run: Path, step: int, total: int, console: Console | None, clock: Clock | None = None) -> None:
        self.path = run / "log.jsonl"
        self.samples = run / "samples"
        self.samples.mkdir(parents=True, exist_ok=True)
        self._drop_lines_after(step)
        self._writer = SummaryWriter(str(run), purge_step=step)
        self._sums: dict[str, Tensor] = {}
        self._watch, self._parting = Watch(), Parting()
        for line in self._lines():
            self._parting.see(int(line["step"]), line)
        self._count = 0
        self._first = self._flushed = step
        self._started = self._last_line = self._since = time.perf_counter()
        self.photographs = 0
        self.busy = 0.0  # seconds inside training steps
        self._console = console
        self._clock, self._total = clock or Clock(), total
        self._bar = _progress(console)
        unit, done, whole = self._progress_at(step)
        self._task = self._bar.add_task(f"training, {unit}", total=whole, completed=done, losses="", speed="")
        self._bar.start()

    def add(self, losses: Mapping[str, Tensor], photographs: int, seconds: float) -> None:
        """Take the losses of one step; nothing waits for the device here."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value
        if not self._count:
            self._since = time.perf_counter() - seconds
        self._count += 1
        self.photographs += photographs
        self.busy += seconds
        self._bar.update(self._task, completed=self._progress_at(self._flushed + self._count)[1])

    @property
    def is_due(self) -> bool:
        """Whether steps that are in no line yet took so long that people wait for one."""
        return self._count > 0 and time.perf_counter() - self._since >= PLAIN_SECONDS

    def flush(self, step: int, extra: Mapping[str, float]) -> None:
        """Write the mean losses and monitors since the last line.

        Raises:
            TrainingError: A loss is not finite; the message names it.
        """
        if not self._count:
            return
        self._flushed = step
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        self._sums, count, self._count = {}, self._count, 0
        if bad := [name for name, value in means.items() if not math.isfinite(value)]:
            raise TrainingError(
                f"The loss {' and '.join(bad)} became infinite or not a number between steps {step - count} and {step}. {RETRY}"
            )
        elapsed = time.perf_counter() - self._started
        speed, outside = self.speed()
        self.line(step, **means, **extra, images_per_second=speed, outside_step=outside, seconds=elapsed)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if name not in MONITORS)
        self._show(step, shown, f"{speed:.2f} images/s")
        for line in self._watch.see(means, count):
            self.say(f"step {step}: {line}; see docs/small-data.md")

    def say(self, line: str) -> None:
        """Show a line above the progress as it is: names of classes and files may hold brackets."""
        if self._console:
            self._console.print(line, soft_wrap=True, markup=False, emoji=False)

    def note(self, step: int, text: str) -> None:
        """Say something of a step, and keep it as `said` in a line of log.jsonl."""
        self._write(step, {"said": text})
        self.say(f"step {step}: {text}")

    def speed(self) -> tuple[float, float]:
        """Photographs per second since the start, and the share of the time spent outside training steps."""
        elapsed = time.perf_counter() - self._started
        return self.photographs / elapsed, 1.0 - self.busy / elapsed

    def line(self, step: int, **values: float) -> None:
        """One line of log.jsonl, and the same as TensorBoard scalars."""
        self._write(step, {k: round(v, 6) for k, v in values.items()})
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def scores(self, step: int, values: Mapping[str, float], best: bool = True) -> None:
        """How far samples are from their photographs; says it once when those learned from and those held out part.

        Args:
            step: Steps taken.
            values: By name, and `phase`, the number of the phase, where there are several.
            best: Whether the best model is kept, which is what it then recommends.
        """
        if values:
            self.line(step, **values)
        if said := self._parting.see(step, values, best):
            self.note(step, said)

    def pictures(self, step: int, name: str, rows: list[list[Picture]], titles: list[str]) -> None:
        """A sheet of samples as samples/NAME-STEP.png and in TensorBoard."""
        page = sheet(rows, titles)
        page.save(self.samples / f"{name}-{step:08d}.png")
        pixels = torch.frombuffer(bytearray(page.tobytes()), dtype=torch.uint8).reshape(page.height, page.width, 3)
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Stop the progress bar and finish the event file."""
        self._bar.stop()
        self._writer.close()

    def _show(self, step: int, losses: str, speed: str) -> None:
        _, done, _ = self._progress_at(step)
        self._bar.update(self._task, completed=done, losses=losses, speed=speed)
        if self._console is None or self._console.is_terminal:
            return
        now = time.perf_counter()
        if now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            left = (now - self._started) / max(step - self._first, 1) * (self._total - step)
            of = f" of {self._total}"
            if (seconds := self._clock.limit - self._clock.seconds) < left:
                left, of = max(seconds, 0.0), ""
            self._console.print(f"step {step}{of}  {losses}  {speed}  {left / 60:.0f} min left", soft_wrap=True)

    def _progress_at(self, step: int) -> tuple[str, int, int]:
        """The unit of progress, how much is done, and how much there is."""
        if math.isinf(self._clock.limit):
            return "steps", step, self._total
        return "seconds", round(self._clock.seconds), round(self._clock.limit)

    def _lines(self) -> list[dict[str, Any]]:
        """Lines of earlier attempts."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def _drop_lines_after(self, step: int) -> None:
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        kept = [line for line in lines if (n := _step_of(line)) is not None and n <= step]
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)  # in one move: a kill must not cost the earlier lines


def _step_of(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut off by a kill
        return None


def _progress(console: Console | None) -> Progress:
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what is left of the terminal's width, if anything is
    columns: list[Any] = [
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("/"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[losses]}", style="dim", table_column=rest),
    ]
    hidden = console is None or not console.is_terminal
    return Progress(*columns, console=console, disable=hidden, transient=True, expand=True)
