"""VGG-19: which features are taken, the perceptual loss on them, and what may be wrong with the file of weights.

The weights are random here; the file has the form of the published one, classifier and later convolutions included.
"""

from __future__ import annotations

import math
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso import losses
from gesso.errors import WeightsError
from gesso.networks.published import cache_folder
from gesso.networks.vgg import FILE, VGG19, load_vgg19

URL = FILE.url


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = dict(VGG19().state_dict())
    for name in ("features.30", "features.32", "features.34", "classifier.0", "classifier.3", "classifier.6"):
        tensors |= {f"{name}.weight": torch.ones(2, 2), f"{name}.bias": torch.ones(2)}
    path = tmp_path_factory.mktemp("vgg") / "weights.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def network(published: Path) -> VGG19:
    return load_vgg19(published)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {n: tuple(t.shape) for n, t in VGG19().state_dict().items()}
    slots = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512]
    expected: dict[str, tuple[int, ...]] = {}
    for slot, before, after in zip(slots, widths[:-1], widths[1:], strict=True):
        expected |= {f"features.{slot}.weight": (after, before, 3, 3), f"features.{slot}.bias": (after,)}
    assert shapes == expected


def test_features_are_those_after_the_first_relu_of_each_stage(network: VGG19, published: Path, image: Tensor) -> None:
    """Convolutions 1, 3, 5, 9 and 13, with a 2x2 maximum before 3, 5, 9 and 13; pixels enter as they are."""
    tensors = torch.load(published, weights_only=True)
    convolutions = [n.removesuffix(".weight") for n, t in tensors.items() if t.dim() == 4]
    expected, x = [], image
    for number, name in enumerate(convolutions, start=1):
        if number in (3, 5, 9, 13):
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1))
        if number in (1, 3, 5, 9, 13):
            expected.append(x)
    found = network(image)
    assert [tuple(t.shape) for t in found] == [
        (1, 64, 32, 48), (1, 128, 16, 24), (1, 256, 8, 12), (1, 512, 4, 6), (1, 512, 2, 3)
    ]  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_frozen_in_evaluation_mode(network: VGG19) -> None:
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_perceptual_loss_reaches_the_generated_image_alone(network: VGG19, image: Tensor) -> None:
    fake, real = image.clone().requires_grad_(), image.flip(-1).requires_grad_()
    loss = losses.perceptual(network(fake), network(real))
    by_hand = sum(
        weight * (f - r).abs().mean().item()
        for weight, f, r in zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0), network(fake), network(real), strict=True)
    )
    assert loss.item() > 0
    assert math.isclose(loss.item(), by_hand, rel_tol=1e-5)
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.abs().max() > 0
    assert real.grad is None
    assert all(p.grad is None for p in network.parameters())
    assert losses.perceptual(network(real), network(real)).item() == 0.0


def refusal(path: Path | str | None) -> str:
    with pytest.raises(WeightsError) as caught:
        load_vgg19(path)
    message = str(caught.value)
    assert URL in message
    assert "weights_only" not in message  # torch's advice to load it anyway is no remedy
    return message


def test_missing_file(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere.pth")
    assert "nowhere.pth" in message
    assert "do not exist" in message


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>\n", bytes(range(256)) * 8, b"PK\x03\x04 cut off"])
def test_file_that_holds_no_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    message = refusal(str(path))
    assert f"{path} cannot be read as weights" in message
    assert "fetch it again" in message


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path)


def test_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save(nn.Linear(2, 2), path)
    assert "cannot be read as weights" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [1, 2],
        {"features.0.weight": 3},
        {"features.0.weight": torch.zeros(64, 3, 3, 3)},
        {"features.0.weight": torch.zeros(64, 1, 3, 3)},
    ],
)
def test_weights_of_another_network(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    message = refusal(path)
    assert f"{path} is not VGG-19: features.0." in message


def test_wrong_shape_is_named(tmp_path: Path, published: Path) -> None:
    tensors = torch.load(published, weights_only=True)
    path = tmp_path / "other.pth"
    torch.save(tensors | {"features.28.bias": torch.zeros(7)}, path)
    assert f"{path} is not VGG-19: features.28.bias missing or of another shape" in refusal(path)


def no_network(url: str, *arguments: object, **options: object) -> None:
    raise URLError("no route to host")


@pytest.mark.parametrize("error", [URLError("no route to host"), TimeoutError("timed out"), RuntimeError("hash")])
def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(url: str, *arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    message = refusal(None)
    assert "could not be fetched" in message
    assert str(error) in message
    for remedy in ("--vgg-weights", str(tmp_path / "cache" / Path(URL).name), "--no-vgg"):
        assert remedy in message


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    assert "--vgg-weights" in refusal(None)


def test_fetched_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Path, network: VGG19
) -> None:
    fetched: list[tuple[str, object]] = []

    def fetch(url: str, dst: str, hash_prefix: str | None = None) -> None:
        fetched.append((url, hash_prefix))
        Path(dst).write_bytes(published.read_bytes())

    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "new" / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    load_vgg19()
    assert fetched == [(URL, "dcbb9e9d")]
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    again = load_vgg19()
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_cache_folder_without_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GESSO_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gesso"
