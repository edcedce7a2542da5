# SPDX-License-Identifier: Apache-2.0
"""What the parameters of an nn.Layer are for, told by the layers that hold them, where it is not traced."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from paddle import Tensor, nn
from paddle.nn.utils.spectral_norm_hook import SpectralNorm
from paddle.nn.utils.weight_norm_hook import WeightNorm

from .base import WEIGHT_ROLES, Role

Found = tuple[Role, tuple[Role, ...]]  # the role of a param, and its readings as a weight
_UNTRACED = "what reads it is not known before the model is traced: call it, or give `input_spec`"
_OWN_FORWARD = (
    "its class has a `forward` of its own, which is not known before the model is traced: call it, or give `input_spec`"
)
_CONVS = {
    nn.Conv1D: ("conv2d", 0, 1),
    nn.Conv2D: ("conv2d", 0, 1),
    nn.Conv3D: ("conv3d", 0, 1),
    nn.Conv1DTranspose: ("conv2d_transpose", 1, 0),
    nn.Conv2DTranspose: ("conv2d_transpose", 1, 0),
    nn.Conv3DTranspose: ("conv3d_transpose", 1, 0),
}
_CELLS = (nn.SimpleRNNCell, nn.LSTMCell, nn.GRUCell)
_RECURRENT = (nn.SimpleRNN, nn.LSTM, nn.GRU)
_NORMS: Mapping[type, str] = {
    nn.BatchNorm1D: "pd_op.batch_norm_",
    nn.BatchNorm2D: "pd_op.batch_norm_",
    nn.BatchNorm3D: "pd_op.batch_norm_",
    nn.BatchNorm: "pd_op.batch_norm_",
    nn.SyncBatchNorm: "pd_op.sync_batch_norm_",
    nn.LayerNorm: "pd_op.layer_norm",
    nn.GroupNorm: "pd_op.group_norm",
    nn.InstanceNorm1D: "pd_op.instance_norm",
    nn.InstanceNorm2D: "pd_op.instance_norm",
    nn.InstanceNorm3D: "pd_op.instance_norm",
}
_NORM_PARTS = {
    "weight": "norm scale",
    "scale": "norm scale",  # of InstanceNorm
    "bias": "norm bias",
    "_mean": "norm mean",
    "_variance": "norm variance",
}


def structural_roles(model: nn.Layer) -> dict[Tensor, Found]:
    """Roles by the op that the layer which holds a parameter calls, in the order of `named_parameters()`.

    Only Paddle's own `forward` is trusted: a class that derives from Conv2D and computes its weight anew has another.
    """
    found: dict[Tensor, Found] = {}
    for layer in model.sublayers(include_self=True):
        for name, tensor in _own(layer):
            role = _role(layer, name, tensor)
            if tensor not in found or (found[tensor][0].role == "unknown" and role.role != "unknown"):
                found[tensor] = role, (role,) if role.role in WEIGHT_ROLES else ()
    return found


def is_whole(layer: nn.Layer) -> bool:
    """Whether a layer computes what Paddle's own layer of its kind does: its op with its bias, and no more."""
    return _kind_of(layer, (*_CONVS, nn.Linear, nn.Embedding, nn.PReLU, *_NORMS)) is not None


def _own(layer: nn.Layer) -> Iterator[tuple[str, Tensor]]:
    yield from layer.named_parameters(include_sublayers=False)
    yield from layer.named_buffers(include_sublayers=False)


def _kind_of(layer: nn.Layer, kinds: Sequence[type]) -> type | None:
    """The kind that a layer is, whose `forward` it also has."""
    for kind in kinds:
        if isinstance(layer, kind) and getattr(type(layer).forward, "__qualname__", "") == kind.forward.__qualname__:  # type: ignore[attr-defined]
            return kind
    return None


def _role(layer: nn.Layer, name: str, tensor: Tensor) -> Role:
    normed = _behind_norm(layer)
    if name in normed:
        return _plain_role(layer, normed[name], tensor)._replace(through="pd_op.divide")
    if any(name == f"{weight}_g" for weight in normed.values()):
        return Role("weight scale", "pd_op.multiply")
    return _plain_role(layer, name, tensor)


def _behind_norm(layer: nn.Layer) -> dict[str, str]:
    """Params that `weight_norm` or `spectral_norm` computes others of -> these, by name; Paddle's own hooks only."""
    hooks = [hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, (WeightNorm, SpectralNorm))]
    return {f"{hook.name}_{'v' if isinstance(hook, WeightNorm) else 'orig'}": hook.name for hook in hooks}


def _plain_role(layer: nn.Layer, name: str, tensor: Tensor) -> Role:
    conv = _kind_of(layer, list(_CONVS))
    if conv is not None and name == "weight":
        return _conv(layer, *_CONVS[conv])
    if _kind_of(layer, [nn.Linear]) and name == "weight":
        return Role("linear", "pd_op.matmul", 1, 0)
    if _kind_of(layer, [nn.Embedding]) and name == "weight":
        return Role("embedding", "pd_op.embedding", 1, 0)
    if conv is not None or _kind_of(layer, [nn.Linear]):
        return Role("bias", "pd_op.add") if name == "bias" else _unknown(layer)
    if _kind_of(layer, _CELLS) or isinstance(layer, _RECURRENT):
        return _recurrent(layer, name)
    if _kind_of(layer, [nn.PReLU]):
        return Role("prelu alpha", "pd_op.prelu")
    norm = _kind_of(layer, list(_NORMS))
    if norm is not None and name in _NORM_PARTS:
        return Role(_NORM_PARTS[name], _NORMS[norm])
    return _unknown(layer)


def _conv(layer: Any, role: str, output: int, contracted: int) -> Role:
    groups = int(layer._groups)
    outputs, inputs = int(layer._out_channels), int(layer._in_channels)
    # Paddle's own rule for what it hands to the depthwise kernels.
    depthwise = groups == inputs and inputs != 1 and outputs % inputs == 0
    if role in ("conv2d", "conv2d_transpose") and depthwise and (contracted == 1 or outputs == inputs):
        role = f"depthwise_{role}"
    run = inputs // groups if groups > 1 and contracted == 0 else 0
    return Role(role, f"pd_op.{role}", output, contracted, groups, run)


def _recurrent(layer: nn.Layer, name: str) -> Role:
    if name.startswith("bias"):
        return Role("bias", "pd_op.rnn")
    if not name.startswith("weight"):
        return _unknown(layer)
    # A cell that a user steps through multiplies by itself; inside of an LSTM, the one op of all steps does.
    return Role("linear", "pd_op.matmul", 0, 1) if isinstance(layer, _CELLS) else Role("rnn", "pd_op.rnn", 0, 1)


def _unknown(layer: nn.Layer) -> Role:
    known = (*_CONVS, nn.Linear, nn.Embedding, *_NORMS)
    is_own = isinstance(layer, known) and _kind_of(layer, known) is None
    return Role("unknown", "", broken=_OWN_FORWARD if is_own else _UNTRACED)
