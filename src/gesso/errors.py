"""Every error that gesso raises on purpose.

    GessoError (a ValueError)
    ├── LabelError        label spaces, label maps, instance maps
    ├── StyleError        styles: modes, feature vectors, the objects that they are for
    ├── DataError         datasets: folders, files, pairs
    ├── ConfigError       recipes, presets, command-line values
    ├── ModelFileError    model files, run state, official checkpoints
    ├── TrainingError     training that cannot go on: non-finite loss, no room on the disk
    └── WeightsError      pretrained weights that cannot be found or are not what they should be

Each message says what came, what is allowed and what to do. The command line prints it without a traceback.
"""

from __future__ import annotations


class GessoError(ValueError):
    """Something the user can mend; the message says how."""


class LabelError(GessoError):
    """A label space, label map or instance map that has no meaning as it stands."""


class StyleError(GessoError):
    """A style that the model does not know, or that does not fit the layout."""


class DataError(GessoError):
    """A dataset folder or file that cannot be read as asked."""


class ConfigError(GessoError):
    """A setting that is unknown, of the wrong type, or contradicts another."""


class ModelFileError(GessoError):
    """A model file, run state or official checkpoint that is damaged or does not fit."""


class TrainingError(GessoError):
    """Training that cannot go on; the last good state is kept."""


class WeightsError(GessoError):
    """Pretrained weights that are missing or differ from the published file."""
