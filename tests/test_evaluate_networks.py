"""The networks that measure: names and shapes of published files, closed forms, files that are something else."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import DataError, WeightsError
from gesso.evaluate.features import NetworkFeatures
from gesso.networks import inception, lpips
from gesso.networks.inception import InceptionV3, Mixed, load_inception
from gesso.networks.lpips import AlexNet, FeatureDistance, Heads, Lpips, load_lpips
from gesso.networks.segmenter import Block, Segmenter, SegmenterFeatures, initialise
from gesso.networks.vgg import VGG19

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# --- Inception-v3 ---


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names; as in old files, batch norm has no counters."""
    with torch.random.fork_rng():
        network = InceptionV3()
        torch.manual_seed(1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.5, 1.5)
                nn.init.normal_(module.running_mean, 0, 0.1)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # so that features depend on the picture
    tensors = {n: t for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(tensors, path)
    return path


THEIRS = [0.3357666, 5.329559, 5.166717, 3.460979, 2.640692, 3.649872]  # four features, their mean and deviation


def test_inceptions_published_names() -> None:
    """94 convolutions with batch norm, 23.8 million numbers, and what tells the file from the usual network's."""
    with torch.device("meta"):
        network = InceptionV3()
    shapes = {n: tuple(t.shape) for n, t in network.state_dict().items()}
    assert sum(n.endswith(".conv.weight") for n in shapes) == 94
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049  # 1000 classes, and eight more
    some = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5d.branch_pool.bn.weight": (64,),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6b.branch7x7dbl_2.conv.weight": (128, 128, 7, 1),
        "Mixed_6e.branch7x7_3.conv.weight": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7c.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
        "fc.weight": (1008, 2048),
    }
    assert some.items() <= shapes.items()


def test_inceptions_sizes_inside() -> None:
    """Table 1 of the paper: 35x35x288, 17x17x768, 8x8x2048 from 299x299."""
    with torch.device("meta"):
        network, seen = InceptionV3(), {}
        for name, module in network.named_children():
            module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape[1:])}))
        assert network(torch.empty(2, 3, 40, 60)).shape == (2, 2048)
    wanted = {
        "Conv2d_4a_3x3": (192, 71, 71),
        "Mixed_5d": (288, 35, 35),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7c": (2048, 8, 8),
    }
    assert wanted.items() <= seen.items()
    assert all(module.width == seen[name][0] for name, module in network.named_children() if isinstance(module, Mixed))


def test_inceptions_averages_count_the_picture_only_and_its_last_pooling_is_a_maximum() -> None:
    with torch.device("meta"):
        pools = {name: m.pool for name, m in InceptionV3().named_children() if isinstance(m, Mixed)}
    constant = torch.ones(1, 1, 5, 5)
    averages = [n for n, pool in pools.items() if isinstance(pool, nn.AvgPool2d)]
    assert averages == [f"Mixed_{n}" for n in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")]
    for name in averages:
        assert torch.equal(pools[name](constant), constant)  # zeros around it would darken the border
    assert torch.equal(pools["Mixed_7c"](torch.eye(3)[None]), torch.ones(1, 3, 3))


def test_inceptions_features_are_those_of_torch_fidelity(inception_file: Path) -> None:
    """What the network of torch-fidelity 0.4.0 gave with this file for this picture (ours: the same to the last bit)."""
    picture = torch.arange(3 * 299 * 299).reshape(1, 3, 299, 299) * 7919 % 256
    with torch.no_grad():
        found = load_inception(inception_file)((picture - 128) / 128)[0]
    expected = torch.tensor(THEIRS)
    torch.testing.assert_close(found[[0, 500, 1000, 2000]], expected[:4], rtol=1e-3, atol=0)
    torch.testing.assert_close(torch.stack([found.mean(), found.std()]), expected[4:], rtol=1e-3, atol=0)


def test_inception_loads_and_reads(inception_file: Path) -> None:
    network = load_inception(inception_file)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    features = NetworkFeatures(network, "Inception-v3", inception.FEATURES)
    pictures = torch.randint(0, 256, (2, 20, 30, 3), dtype=torch.uint8).numpy()
    found = features(pictures)
    assert found.shape == (2, 2048)
    assert abs(found[0] - found[1]).max() > 0.01 * abs(found).max()
    scaled = F.interpolate(torch.from_numpy(pictures).movedim(-1, 1) / 127.5 - 1, (299, 299), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(network(scaled), torch.from_numpy(found))


def test_the_usual_inception_is_refused(tmp_path: Path, inception_file: Path) -> None:
    """Its names and shapes are the same but for the 1000 classes."""
    tensors = torch.load(inception_file, weights_only=True)
    path = tmp_path / "usual.pth"
    torch.save(tensors | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(WeightsError, match=r"usual\.pth is not Inception-v3 of .*: fc\.weight, fc\.bias missing"):
        load_inception(path)


# --- LPIPS ---


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names, classifier included."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        tensors = AlexNet().state_dict() | {"classifier.6.bias": torch.zeros(1000)}
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def heads_file() -> Path:
    """The published file itself: torchmetrics carries a copy."""
    package = importlib.util.find_spec("torchmetrics")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"


@pytest.fixture(scope="module")
def measure(alexnet_file: Path, heads_file: Path) -> Lpips:
    return load_lpips(alexnet_file, heads_file)


def test_lpips_published_names(measure: Lpips) -> None:
    shapes = {n: tuple(t.shape) for n, t in measure.network.state_dict().items()}
    assert shapes == {
        "features.0.weight": (64, 3, 11, 11), "features.0.bias": (64,),
        "features.3.weight": (192, 64, 5, 5), "features.3.bias": (192,),
        "features.6.weight": (384, 192, 3, 3), "features.6.bias": (384,),
        "features.8.weight": (256, 384, 3, 3), "features.8.bias": (256,),
        "features.10.weight": (256, 256, 3, 3), "features.10.bias": (256,),
    }  # fmt: skip
    assert set(Heads().state_dict()) == {f"lin{n}.model.1.weight" for n in range(5)}


def test_the_published_heads_have_the_stated_digest_and_no_negative_weight(heads_file: Path, measure: Lpips) -> None:
    digest = importlib.import_module("hashlib").sha256(heads_file.read_bytes()).hexdigest()
    assert digest == lpips.HEADS.sha256
    assert all(tensor.min() >= 0 and tensor.max() > 0 for tensor in measure.heads.parameters())


def test_lpips_by_hand(measure: Lpips, alexnet_file: Path, heads_file: Path) -> None:
    """Equation 1 written out for AlexNet's five layers."""
    first, second = images(2, 3, 64, 80), images(2, 3, 64, 80, seed=1)
    net, heads = (torch.load(p, map_location="cpu", weights_only=True) for p in (alexnet_file, heads_file))

    def layers(x: Tensor) -> Iterator[Tensor]:
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (x - shift[:, None, None]) / scale[:, None, None]
        for slot, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if slot in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, net[f"features.{slot}.weight"], net[f"features.{slot}.bias"], stride, padding))
            yield x / (x.norm(dim=1, keepdim=True) + 1e-10)

    expected = torch.zeros(2)
    for number, (a, b) in enumerate(zip(layers(first), layers(second), strict=True)):
        expected += ((a - b) ** 2 * heads[f"lin{number}.model.1.weight"].view(-1, 1, 1)).sum(1).mean((1, 2))
    torch.testing.assert_close(measure(first, second), expected)


Measure = Callable[..., Tensor]


@pytest.fixture(params=["lpips", "vgg", "segmenter"])
def any_measure(request: pytest.FixtureRequest, measure: Lpips) -> Measure:
    if request.param == "vgg":
        return FeatureDistance(VGG19(), "VGG-19")
    if request.param == "segmenter":
        return FeatureDistance(initialise(Segmenter(classes=3, width=4)).eval().encoder, "segmenter")
    return measure


def test_distances_of_equal_unequal_and_swapped_pictures(any_measure: Measure) -> None:
    first, second = images(2, 3, 64, 64), images(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        assert any_measure(first, first).tolist() == [0, 0]
        apart = any_measure(first, second)
        assert (apart > 1e-4).all()
        assert (apart < 2).all()
        torch.testing.assert_close(any_measure(second, first), apart)
        torch.testing.assert_close(any_measure(first, 0.9 * first + 0.1 * second) < apart, torch.tensor([True, True]))


def test_where_to_look(any_measure: Measure) -> None:
    """Everywhere is the whole; a change in one half shows in that half; nowhere is no number."""
    first = images(1, 3, 96, 96)
    second = first.clone()
    second[..., 48:] = images(1, 3, 96, 48, seed=1)
    left = torch.zeros(1, 96, 96)
    left[..., :24] = 1
    with torch.no_grad():
        torch.testing.assert_close(any_measure(first, second, torch.ones(1, 96, 96)), any_measure(first, second))
        assert any_measure(first, second, left) < any_measure(first, second, left.flip(-1)) / 2
        assert any_measure(first, second, torch.zeros(1, 96, 96)).isnan().all()


def test_feature_distance_by_hand() -> None:
    """One layer at right angles (2), one equal (0), one opposite (4): the mean is 2."""

    class Maps(nn.Module):
        def forward(self, image: Tensor) -> list[Tensor]:
            x = image[:, :2]
            return [torch.cat([x[:, :1], x[:, 1:]], 1), torch.ones_like(x), x[:, :1] - x[:, 1:]]

    first, second = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    first[:, 0], second[:, 1] = 3, 5
    distance = FeatureDistance(Maps(), "maps")
    assert distance(first, second).tolist() == pytest.approx([2.0])
    assert distance.name == "feature distance (maps)"


def test_pictures_too_small_for_lpips(measure: Lpips) -> None:
    assert measure(images(1, 3, 31, 40), images(1, 3, 31, 40, seed=1)) > 0
    with pytest.raises(DataError, match=r"at least 31x31 pixels; these are 40x30"):
        measure(images(1, 3, 30, 40), images(1, 3, 30, 40))


# --- files that are missing, cut off, or something else ---

LOADERS = {
    "inception": (load_inception, inception.FILE),
    "alexnet": (lambda path=None: load_lpips(path, path), lpips.ALEXNET),
    "heads": (lambda path=None: lpips.HEADS.fill(Heads(), path), lpips.HEADS),
}
Loader = tuple[Callable[..., nn.Module], inception.PublishedFile]


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest) -> Loader:
    return LOADERS[request.param]


def refusal(loader: Loader, *path: Path | str) -> str:
    with pytest.raises(WeightsError) as caught:
        loader[0](*path)
    message = str(caught.value)
    assert loader[1].url in message
    assert loader[1].title in message or "cannot be read" in message
    assert "weights_only" not in message  # torch's advice to load it anyway is no remedy
    return message


def test_missing_file(loader: Loader, tmp_path: Path) -> None:
    assert "nowhere.pth do not exist" in refusal(loader, tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>\n", b"PK\x03\x04 cut off"])
def test_file_that_holds_no_weights(loader: Loader, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    assert f"{path} cannot be read as weights" in refusal(loader, str(path))


def test_file_that_would_run_code_is_not_read(loader: Loader, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    assert "cannot be read as weights" in refusal(loader, tmp_path / "module.pth")


@pytest.mark.parametrize("content", [{}, [1, 2], {"features.0.weight": 3}])
def test_weights_of_another_network(loader: Loader, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    assert f"other.pth is not {loader[1].title}: " in refusal(loader, tmp_path / "other.pth")


@pytest.mark.parametrize("error", [URLError("no route to host"), TimeoutError("timed out"), RuntimeError("hash")])
def test_offline(loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(url: str, *arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    message = refusal(loader)
    for remedy in (
        "could not be fetched",
        str(error),
        str(tmp_path / "cache" / loader[1].name),
        "weights FILE",
        "or measure",
    ):
        assert remedy in message


def test_fetched_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alexnet_file: Path, heads_file: Path, measure: Lpips
) -> None:
    fetched: dict[str, str | None] = {}

    def fetch(url: str, dst: str, hash_prefix: str | None = None) -> None:
        assert url not in fetched
        fetched[url] = hash_prefix
        source = alexnet_file if "alexnet" in url else heads_file
        Path(dst).write_bytes(source.read_bytes())

    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "new" / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    load_lpips()
    assert fetched == {lpips.ALEXNET.url: "7be5be79", lpips.HEADS.url: lpips.HEADS.sha256}
    again = load_lpips()
    for name, tensor in measure.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_digests_in_file_names() -> None:
    for file in (inception.FILE, lpips.ALEXNET):
        assert file.url.endswith(f"-{file.sha256}.pth")
        assert file.name == file.url.rsplit("/", 1)[1]


# --- the segmenter ---


def test_segmenters_budget_and_shapes() -> None:
    with torch.device("meta"):
        network = Segmenter(classes=32)
    assert 2e6 < sum(p.numel() for p in network.parameters()) < 4e6
    small = initialise(Segmenter(classes=5, width=4)).eval()
    for height, width in ((32, 32), (64, 96), (32, 160)):
        assert small(images(2, 3, height, width)).shape == (2, 5, height, width)
    assert [tuple(x.shape[1:]) for x in small.encoder(images(1, 3, 64, 96))] == [
        (4, 32, 48), (8, 16, 24), (16, 8, 12), (24, 4, 6), (32, 2, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 33)])
def test_sizes_that_the_segmenter_refuses(height: int, width: int) -> None:
    network = Segmenter(classes=2, width=4)
    with pytest.raises(DataError, match=f"multiples of 32; this photograph is {width}x{height}"):
        network(images(1, 3, height, width))


def test_initial_weights_come_from_the_generator_and_blocks_begin_as_shortcuts() -> None:
    drawn = [
        initialise(Segmenter(classes=2, width=4), torch.Generator().manual_seed(seed)).state_dict()
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not torch.equal(drawn[0]["classify.weight"], drawn[2]["classify.weight"])
    block, x = initialise(Block(3)).eval(), images(1, 3, 8, 8)
    assert torch.equal(block(x), F.relu(x))


def test_the_segmenter_learns() -> None:
    """Which side of the picture is bright, pixel by pixel, in 30 steps."""
    network = initialise(Segmenter(classes=2, width=4))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    label = torch.zeros(4, 32, 64, dtype=torch.long)
    label[:2, :, :32], label[2:, :, 32:] = 1, 1
    image = (label.unsqueeze(1) * 1.0 - 0.5).expand(-1, 3, -1, -1) + 0.1 * images(4, 3, 32, 64)
    for _ in range(30):
        loss = F.cross_entropy(network(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    assert (network(image).argmax(1) == label).float().mean() > 0.9


def test_every_weight_of_the_segmenter_takes_part() -> None:
    network = initialise(Segmenter(classes=2, width=4))
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.ones_(module.second[1].weight)  # beginning as shortcuts, blocks hide their convolutions
    network(images(2, 3, 64, 64)).square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_segmenter_features_see_blur_and_do_not_depend_on_the_batch() -> None:
    features = SegmenterFeatures(initialise(Segmenter(classes=3, width=4)).encoder).eval()
    x = images(3, 3, 50, 70)  # of any size
    with torch.no_grad():
        found = features(x)
        assert found.shape == (3, features.dimension) == (3, 84)
        torch.testing.assert_close(features(x[1:2]), found[1:2])
        once = F.avg_pool2d(x, 3, 1, 1)
        assert (features(once) - found).norm() > 0.01 * found.norm()
