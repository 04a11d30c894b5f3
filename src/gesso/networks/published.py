"""Files of published weights: fetched once, checked by their digest, read without running code, filled in name by name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError

import torch
from torch import nn

from gesso.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)
COUNTERS = "num_batches_tracked"  # of batch norm; older files have none, and nothing in `eval()` reads them


def cache_folder() -> Path:
    """Where downloaded weights are kept: `$GESSO_CACHE`, or `~/.cache/gesso`."""
    return Path(os.environ.get("GESSO_CACHE", Path.home() / ".cache" / "gesso"))


@dataclass(frozen=True)
class PublishedFile:
    """One file of published weights.

    Attributes:
        title: What it holds, as errors name it.
        url: Where it is published.
        sha256: Its digest, or the first digits where no more is known (torch-style file names carry eight).
        remedy: What to do without a network, beside putting the file into the cache: a flag, another measure.
        name: Its name in the cache.
    """

    title: str
    url: str
    sha256: str
    remedy: str
    name: str

    def fill(self, network: Network, weights: str | Path | None = None) -> Network:
        """The network with the published tensors, in evaluation mode and frozen; tensors that it does not have are passed over.

        Args:
            network: Its state dict has the published names; changed in place.
            weights: A local copy of the file; without it the cache is used, and filled from `url` once.

        Raises:
            WeightsError: The file is missing or holds something else; or there is no network to fetch it.
        """
        path = Path(weights) if weights is not None else self._fetched()
        held, wanted = self._read(path), network.state_dict()
        needed = [name for name in wanted if not name.endswith(COUNTERS)]
        if wrong := [n for n in needed if getattr(held.get(n), "shape", None) != wanted[n].shape]:
            raise WeightsError(
                f"{path} is not {self.title}: {', '.join(wrong[:3])} missing or of another shape. "
                f"The published file is {self.url}."
            )
        network.load_state_dict({name: held.get(name, tensor) for name, tensor in wanted.items()})
        return network.requires_grad_(False).eval()

    def _read(self, path: Path) -> dict[str, torch.Tensor]:
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise WeightsError(
                f"The weights of {self.title} {path} do not exist. Fetch them from {self.url}."
            ) from None
        except Exception as error:  # torch.load raises whatever unpickling meets, and advises to load unsafely
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise WeightsError(
                f"{path} cannot be read as weights ({reason}): it is another file, or was not fetched to its end. Delete "
                f"it and fetch it again from {self.url}."
            ) from None
        return tensors if isinstance(tensors, dict) else {}

    def _fetched(self) -> Path:
        path = cache_folder() / self.name
        if path.exists():
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(path), hash_prefix=self.sha256)
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"The weights of {self.title} could not be fetched from {self.url} ({error}). Put a copy at {path}, "
                f"{self.remedy}."
            ) from None
        return path
