"""Features of objects, maps made of clusters, and the clusters themselves, against the official code's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gesso.importers import load_official
from gesso.synthesis.features import feature_map
from gesso.synthesis.styles import Census, collect, k_means, large_enough
from support import Golden, weights

ITEM = "A6_hd_encoder"


def class_of(ids: Tensor) -> Tensor:
    """The official class of an object id."""
    return torch.where(ids < 1000, ids, ids // 1000)


def need(tensors: dict[str, Tensor], *names: str) -> None:
    if missing := [name for name in names if name not in tensors]:
        pytest.skip(f"{ITEM} holds no {', '.join(missing)}")


def census(meta: dict[str, Any], tensors: dict[str, Tensor], official: dict[str, Tensor]) -> Census:
    """The objects of the first sample."""
    encoder = load_official(official, "pix2pixhd.encoder")
    instance = tensors["in.inst"][0, 0].long()
    item = {
        "name": "first",
        "image": tensors["in.image"][0].float(),
        "label": class_of(instance),
        "instance": instance,
    }
    return collect(encoder, [item], "instance", meta["config"]["label_nc"])


def compare_rows(golden: Golden, meta: dict[str, Any], found: Census) -> None:
    """Per class: features, then the share of the picture, in the order of ids."""
    key = "encode_features"
    precision = meta.get("fp64_check", {}).get("out.encoder_pooled", {})
    for name, rows in meta[key]["rows"].items():
        ours = np.column_stack([found.vectors.astype(np.float64), found.shares])[found.classes == int(name)]
        theirs = torch.tensor(rows, dtype=torch.float64)
        golden.agree({**meta, "fp64_check": {key: precision}}, key, torch.from_numpy(ours), {key: theirs})


def test_encode_features(golden: Golden) -> None:
    meta, tensors = golden(ITEM)
    need(tensors, "in.image", "in.inst")
    found = census(meta, tensors, weights(tensors, "netE."))
    compare_rows(golden, meta, found)
    absent = set(range(meta["config"]["label_nc"])) - set(found.classes.tolist())
    assert absent == set(meta["encode_features"]["empty_labels"])
    golden.count(ITEM)


def test_one_perturbed_weight_is_noticed(golden: Golden) -> None:
    meta, tensors = golden(ITEM)
    need(tensors, "in.image", "in.inst")
    official = weights(tensors, "netE.")
    first = next(n for n, t in official.items() if t.dim() == 4)
    official[first] = official[first].clone()
    official[first][0, 0] += 0.05
    with pytest.raises(AssertionError, match="differs by"):
        compare_rows(golden, meta, census(meta, tensors, official))


def test_sample_features(golden: Golden) -> None:
    """Every object gets the centre that was drawn for it; one draw per id serves the whole batch."""
    meta, tensors = golden(ITEM)
    picks = meta["sample_features"]["picks"]
    need(tensors, "in.inst", "out.sample_features", *(f"in.cluster.{pick['label']}" for pick in picks))
    table = {
        (pick["label"], pick["inst"]): tensors[f"in.cluster.{pick['label']}"][pick["pick"]].tolist() for pick in picks
    }
    ids = tensors["in.inst"][:, 0].long()
    assert {(int(class_of(i)), int(i)) for i in ids.unique()} == table.keys()
    channels = meta["config"]["feat_num"]
    maps = [feature_map(table, class_of(one), one, "instance", channels) for one in ids]
    golden.agree(meta, "out.sample_features", torch.stack(maps), tensors)


def test_k_means(golden: Golden) -> None:
    meta, tensors = golden(ITEM)
    need(tensors, "in.kmeans_table")
    expected, table = meta["kmeans"], tensors["in.kmeans_table"].double().numpy()
    shares = table[:, -1]
    vectors = table[large_enough(shares, np.zeros(len(table), dtype=np.int64), None), :-1]
    assert len(vectors) == expected["rows_kept"]
    centres, assigned = k_means(vectors, expected["n_clusters"])
    assert len(centres) == min(len(vectors), expected["n_clusters"])
    inertia = ((vectors - centres[assigned]) ** 2).sum()
    assert inertia <= 1.001 * expected["inertia"]
    golden.count(ITEM, 2)
    if abs(inertia - expected["inertia"]) <= 1e-9 * expected["inertia"]:  # else another, as good, set of clusters
        ordered = centres[np.argsort(centres[:, 0])]
        np.testing.assert_allclose(ordered, expected["centers_sorted_by_first_coord"], rtol=0, atol=1e-9)
        golden.count(ITEM)
