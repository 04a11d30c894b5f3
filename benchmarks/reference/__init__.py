"""Networks and training steps of pix2pixHD and SPADE, straightforward and frozen: what speed is measured against.

Every layer is a module of PyTorch in a plain sequence, tensors are one-hot and (B, C, H, W) in memory, nothing is fused, cut,
looked up or left out. Nothing here may be made faster: the figures of later versions are ratios to this one. Layers are created
in the order of gesso's own networks, so that weights can be handed over one after the other; nothing else is shared with them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)
NAMES = {"weight_orig": "weight", "weight_u": "u", "weight_v": "v"}  # of torch's spectral norm, and ours


def semantics_of(label: Tensor, instance: Tensor, classes: int) -> Tensor:
    """One-hot classes and the instance boundary, (B, classes + 1, H, W), of two integer maps (B, H, W)."""
    planes = F.one_hot(label.long(), classes).permute(0, 3, 1, 2).float()
    edge = torch.zeros_like(planes[:, :1], dtype=torch.bool)
    across = (instance[:, :, 1:] != instance[:, :, :-1]) | (label[:, :, 1:] != label[:, :, :-1])
    down = (instance[:, 1:] != instance[:, :-1]) | (label[:, 1:] != label[:, :-1])
    edge[:, 0, :, 1:] |= across
    edge[:, 0, :, :-1] |= across
    edge[:, 0, 1:] |= down
    edge[:, 0, :-1] |= down
    return torch.cat([planes, edge.float()], dim=1)


def hand_over(source: nn.Module, target: nn.Module) -> None:
    """Copy weights, vectors of spectral norm and running statistics between networks of the same layers in the same order."""
    with torch.no_grad():
        for one, other in zip(tensors(source), tensors(target), strict=True):
            here, there = ({name: tuple(tensor.shape) for name, tensor in layer.items()} for layer in (one, other))
            if here != there:
                raise ValueError(f"The networks are not the same: a layer has {here}, its counterpart {there}.")
            for name, tensor in other.items():
                tensor.copy_(one[name])


def tensors(network: nn.Module) -> list[dict[str, Tensor]]:
    """What each layer holds, by gesso's names."""
    layers = [layer for layer in network.modules() if isinstance(layer, LAYERS)]
    held = [[*m.named_parameters(recurse=False), *m.named_buffers(recurse=False)] for m in layers]
    return [{NAMES.get(name, name): tensor for name, tensor in named} for named in held]
