"""Segmenters that were trained once are kept."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from gesso.data.dataset import SemanticDataset
from gesso.errors import ModelFileError
from gesso.networks.published import cache_folder
from gesso.segmenter_training.held_out import scored, up_to_date
from gesso.segmenter_training.locking import alone
from gesso.segmenter_training.photographs import data_digest
from gesso.segmenter_training.settings import SegmenterSettings
from gesso.segmenter_training.training import CALLED, trained
from gesso.synthesis.segmenter import TrainedSegmenter, load_segmenter


def cached_segmenter(
    training: SemanticDataset,
    validation: SemanticDataset | None,
    settings: SegmenterSettings | None = None,
    device: str = "auto",
    console: Console | None = None,
    origin: str = "",
    held_out_origin: str = "",
) -> TrainedSegmenter:
    """The segmenter of these data and settings: trained once, then kept in the cache folder.

    Its scores are those on `validation`: they are taken when they are missing, or were taken on other photographs. Where another
    process trains the same one, its end is waited for.

    Args: as `train_segmenter`.

    Raises:
        DataError: There is no photograph with a label map, or a file cannot be read.
        TrainingError: The loss is not finite, or the disk is full.
        ConfigError: The device is not on this machine.
    """
    settings = settings or SegmenterSettings()
    digest = data_digest(training, settings, console)
    path = cache_folder() / "segmenters" / f"{digest}.safetensors"
    kept = _kept(path, device)
    if kept and up_to_date(kept, validation, console, held_out_origin):
        return kept  # without a lock: the cache may be another's, only to be read
    with alone(path, CALLED.format(origin or digest[:8]), console):
        found = _kept(path, device) or trained(training, digest, path, settings, device, console, origin)
        return scored(found, validation, path, console, held_out_origin)


def _kept(path: Path, device: str) -> TrainedSegmenter | None:
    """What the cache holds; None where it is nothing, or damaged."""
    if not path.exists():
        return None
    try:
        return load_segmenter(path, device)
    except ModelFileError:
        return None
