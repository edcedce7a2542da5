# SPDX-License-Identifier: Apache-2.0
"""Quantizers: how weights and activations are rounded while a net trains. Parts of `quantize_aware`."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable, Iterator, Union

import paddle
from paddle import Tensor
from paddle.base.libpaddle import pir

from .. import arguments
from ..graph.values import agree

Backward = Union[str, Callable[[Tensor, Tensor], Tensor]]
_BACKWARDS = ("straight_through", "clipped")
_PLAIN: ContextVar[bool] = ContextVar("plain ops", default=False)


class Quantizer:
    """A way of rounding; derive from it for one of your own.

    A derived class overrides what it rounds. Every method takes a tensor and gives one of the same shape: what the net
    computes with. The gradient is that of its ops: `rounded(x, values)` has the usual one.

    Attributes:
        bits: numbers of bits that it knows, (least, most).
        gradient_bits: bits of the gradients that come back to a layer's output; None: they are not rounded.
        needs_range: whether it rounds activations in a range [low, high] that is learned from the batches.
        is_int8: whether its 8 bits are those of the int8 kernels: then an exported model is an ordinary float32 one
            with ranges beside it, for `accelerate --int8`.
    """

    bits: tuple[int, int] = (2, 8)
    gradient_bits: int | None = None
    needs_range = False
    is_int8 = False

    def quantize_weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        """A weight rounded; `axis` is that of its output channels."""
        raise NotImplementedError

    def quantize_input(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        """What a layer reads, rounded; [low, high] is its range, [1] each, if `needs_range`."""
        raise NotImplementedError

    def quantize_output(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        """What a layer gives, rounded; by default as what it reads."""
        return self.quantize_input(x, bits, low, high)

    def quantize_gradient(self, gradient: Tensor, bits: int) -> Tensor:
        """The gradient [n, ...] that comes back to a layer's output, rounded to `gradient_bits`."""
        raise NotImplementedError

    def loses_zeros(self, bits: int) -> str:
        """Why a weight that is zero is not zero once it is rounded; empty if it is."""
        return ""

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()) if not name.startswith("_"))
        return f"{type(self).__name__}({words})"


def rounded(x: Tensor, values: Tensor, backward: Backward = "straight_through") -> Tensor:
    """`values` on the way forward, and on the way back a gradient of x in spite of the rounding.

        "straight_through": dx = dy      "clipped": dx = dy where |x| <= 1, else 0      backward(x, dy): what it gives

    Args:
        x: what was rounded; finite.
        values: what it was rounded to, of the same shape.
        backward: way back.

    Raises:
        ValueError: `backward` is another word.
        TypeError: It is neither a word nor a function.

    Example:
        >>> x = paddle.to_tensor([0.4, 1.6], stop_gradient=False)
        >>> rounded(x, paddle.round(x), "clipped").backward(paddle.to_tensor([3.0, 5.0]))
        >>> x.grad.tolist()
        [3.0, 0.0]

    Source: Bengio, Léonard and Courville 2013, arXiv:1308.3432; clipped: Courbariaux et al. 2016, arXiv:1602.02830.
    """
    checked_backward(backward)
    if _PLAIN.get():
        return values
    if callable(backward):
        through = with_backward(x, lambda gradient: backward(x, gradient))
    else:
        through = x if backward == "straight_through" else x * _within_one(x)
    return values.detach() + (through - through.detach())


def with_backward(x: Tensor, backward: Callable[[Tensor], Tensor]) -> Tensor:
    """x on the way forward, and `backward(dy)` in place of dy on the way back; in both graphs."""

    def back(gradient: Tensor) -> Tensor:
        return of_shape(gradient, backward(gradient), "`backward`")

    if not paddle.in_dynamic_mode():
        return paddle.static.nn.static_pylayer(paddle.assign, [x], back)

    class Gate(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return paddle.assign(x)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return back(gradient)

    return Gate.apply(x)


def rounded_weight(weight: Tensor, quantizer: Quantizer, bits: int, axis: int) -> Tensor:
    """A weight as its quantizer rounds it.

    Raises:
        TypeError, ValueError: The quantizer, one of a user's own, gives no tensor of the weight's shape.
    """
    values = quantizer.quantize_weight(weight, bits, axis)
    return of_shape(weight, values, f"quantize_weight of {quantizer!r}")


def rounded_activation(
    kind: str, x: Tensor, quantizer: Quantizer, bits: int, low: Tensor | None, high: Tensor | None
) -> Tensor:
    """The "input" or the "output" of a layer as its quantizer rounds it; raises as `rounded_weight`."""
    quantize = quantizer.quantize_input if kind == "input" else quantizer.quantize_output
    return of_shape(x, quantize(x, bits, low, high), f"quantize_{kind} of {quantizer!r}")


def of_shape(x: Tensor, values: Any, what: str) -> Tensor:
    """What a function made of x, if it has x's shape and dtype; extents that a Program does not know are those of x."""
    if not isinstance(values, (Tensor, pir.Value)):
        raise TypeError(f"{what} must give a tensor, got {arguments.shown(values)} ({type(values).__name__}).")
    known, given = list(x.shape), list(values.shape)
    if not agree(known, given):
        raise ValueError(f"{what} must give a tensor of the shape {known} that it gets, got {given}.")
    if values.dtype != x.dtype:
        raise ValueError(f"{what} must give a tensor of {x.dtype}, as it gets, got {values.dtype}.")
    if known != given:
        values.set_type(pir.create_shaped_type(values.type(), known))
    return values


def checked_backward(backward: Any) -> Any:
    if not callable(backward):
        arguments.one_of("backward", backward, _BACKWARDS, hint="or a function of (x, gradient)")
    return backward


class AffineQuantizer(Quantizer):
    """Even steps, and zero is one of the levels: the default, and with 8 bits that of the int8 kernels.

        symmetric:   s = max|w| / (2^(b-1) - 1),   s * round(w / s)
        asymmetric:  s = (max(high, 0) - min(low, 0)) / (2^b - 1),  z = round(-min(low, 0) / s),
                     s * (min(max(round(x / s) + z, 0), 2^b - 1) - z)

    Args:
        symmetric_weights: weights symmetric around zero, as the int8 kernels have them.
        per_channel: a scale for each output channel of a weight; otherwise one for all of it.
        symmetric_activations: s = max(|low|, |high|) / (2^(b-1) - 1) for activations, too.
        backward: gradient of weights: "straight_through", "clipped" (|w| <= 1) or a function of (w, gradient).
            Activations outside of their range get no gradient.

    Source: Jacob et al. 2017, arXiv:1712.05877.
    """

    needs_range = True

    def __init__(
        self,
        *,
        symmetric_weights: bool = True,
        per_channel: bool = True,
        symmetric_activations: bool = False,
        backward: Backward = "straight_through",
    ) -> None:
        self.symmetric_weights = arguments.flag("symmetric_weights", symmetric_weights)
        self.per_channel = arguments.flag("per_channel", per_channel)
        self.symmetric_activations = arguments.flag("symmetric_activations", symmetric_activations)
        self.backward = checked_backward(backward)

    @property
    def is_int8(self) -> bool:  # type: ignore[override]
        return self.symmetric_weights and self.per_channel and not self.symmetric_activations

    def quantize_weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        values = self._weight(weight, bits, axis)
        if self.backward == "straight_through" and self.symmetric_weights:
            return values  # Paddle's ops have that gradient themselves
        return rounded(weight, values, self.backward)

    def _weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        if self.symmetric_weights and self.per_channel:
            return round_weight(weight, axis, bits)
        if self.symmetric_weights:
            return paddle._C_ops.fake_quantize_dequantize_abs_max(weight, bits, 0)[0]
        axes = [other for other in range(len(weight.shape)) if other != axis] if self.per_channel else None
        low = paddle.clip(paddle.min(weight, axis=axes, keepdim=True), max=0.0)
        high = paddle.clip(paddle.max(weight, axis=axes, keepdim=True), min=0.0)
        scale = paddle.clip((high - low) / float(2**bits - 1), min=1e-30)
        zero = paddle.round(-low / scale)
        steps = paddle.clip(paddle.round(weight / scale) + zero, 0.0, float(2**bits - 1))
        return (steps - zero) * scale

    def quantize_input(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        if not self.symmetric_activations:
            return round_activation(x, low, high, bits)
        span = paddle.clip(paddle.maximum(low.abs(), high.abs()), min=1e-30)
        cut = paddle.clip(x, -span, span)  # NaN? no training batch of finite numbers was seen yet
        return _even_steps(cut, span, bits)


class DoReFaQuantizer(Quantizer):
    """DoReFa-Net: weights through tanh into [-1, 1], activations cut to [0, 1], gradients rounded with noise.

        q_k(r) = round((2^k - 1) r) / (2^k - 1)
        weights, k = 1: sign(w) mean|w|;   k > 1: 2 q_k(tanh(w) / (2 max|tanh(w)|) + 1/2) - 1
        activations: q_k(min(max(x, 0), 1))
        gradients of a sample: 2 m (q_k(g / (2 m) + 1/2 + n) - 1/2),  m = max|g|,  n uniform in +-1/2 / (2^k - 1)

    With 1-2-6 (weights, activations, gradients) write {"weight": 1, "input": 2} and `gradient_bits=6`. Zero is no level
    of these weights, so that they cannot be pruned too.

    Args:
        gradient_bits: bits of the gradients at the outputs of layers, 1 to 8; None: float32 (the paper's 32).

    Source: Zhou et al. 2016, arXiv:1606.06160.
    """

    bits = (1, 8)

    def __init__(self, *, gradient_bits: int | None = None) -> None:
        if gradient_bits is not None:
            gradient_bits = arguments.whole("gradient_bits", gradient_bits, least=1, most=8)
        self.gradient_bits = gradient_bits

    def quantize_weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        if bits == 1:
            return rounded(weight, sign_of(weight) * weight.abs().mean())
        squashed = paddle.tanh(weight)
        unit = squashed / (2.0 * squashed.abs().max() + 1e-30) + 0.5
        return 2.0 * rounded(unit, _unit_steps(unit, bits)) - 1.0

    def quantize_input(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        cut = paddle.clip(x, 0.0, 1.0)
        return rounded(cut, _unit_steps(cut, bits))

    def loses_zeros(self, bits: int) -> str:
        return f"DoReFaQuantizer with {bits} bits has no level at zero"

    def quantize_gradient(self, gradient: Tensor, bits: int) -> Tensor:
        """Each sample in its own range, with noise."""
        axes = list(range(1, len(gradient.shape))) or None
        most = 2.0 * gradient.abs().max(axis=axes, keepdim=True) + 1e-30
        noise = (paddle.rand(paddle.shape(gradient), gradient.dtype) - 0.5) / float(2**bits - 1)
        return most * (_unit_steps(paddle.clip(gradient / most + 0.5 + noise, 0.0, 1.0), bits) - 0.5)


class BinaryQuantizer(Quantizer):
    """One bit: the sign, +1 or -1, of weights and of activations; sign(0) = 1.

        weights: a_c sign(w), a_c = mean|w_c| of output channel c (XNOR-Net), or a_c = 1 (BNN, `scaled=False`)
        dw = dy 1(|w| <= 1),  with a scale  dw = dy (1/n_c + a_c 1(|w| <= 1)),  n_c weights of the channel
        activations: sign(x),  dx = dy 1(|x| <= 1)

    Zero is no level, so that such weights cannot be pruned too.

    Args:
        scaled: a scale for each output channel.

    Source: Courbariaux et al. 2016, arXiv:1602.02830; Rastegari et al. 2016, arXiv:1603.05279.
    """

    bits = (1, 1)

    def __init__(self, *, scaled: bool = True) -> None:
        self.scaled = arguments.flag("scaled", scaled)

    def quantize_weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        if not self.scaled:
            return rounded(weight, sign_of(weight), "clipped")
        axes = [other for other in range(len(weight.shape)) if other != axis]
        scale = weight.abs().mean(axis=axes, keepdim=True).detach()
        count = 1
        for other in axes:
            count *= int(weight.shape[other])
        through = weight * (scale * _within_one(weight) + 1.0 / count).detach()
        return (scale * sign_of(weight)).detach() + (through - through.detach())

    def quantize_input(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        return rounded(x, sign_of(x), "clipped")

    def loses_zeros(self, bits: int) -> str:
        return "BinaryQuantizer has no level at zero"


class FunctionQuantizer(Quantizer):
    """A quantizer of your own, from functions of a tensor.

    Args:
        weight, input, output: a function of a tensor that gives one of that shape; None leaves it as it is.
            Without `output`, outputs are rounded as inputs.
        backward: gradient in place of the functions' own: "straight_through", "clipped" or a function of (x, gradient).
        zero: whether `weight` gives zero for zero: otherwise such weights cannot be pruned too; it is tried.

    Example:
        >>> ternary = FunctionQuantizer(weight=lambda w: w.sign() * (w.abs() > 0.7 * w.abs().mean()).astype(w.dtype))
        >>> ternary.quantize_weight(paddle.to_tensor([0.1, -2.0, 0.0]), 2, 0).tolist()
        [0.0, -1.0, 0.0]
    """

    bits = (1, 8)

    def __init__(
        self,
        *,
        weight: Callable[[Tensor], Tensor] | None = None,
        input: Callable[[Tensor], Tensor] | None = None,
        output: Callable[[Tensor], Tensor] | None = None,
        backward: Backward = "straight_through",
        zero: bool = True,
    ) -> None:
        given = {"weight": weight, "input": input, "output": output}
        for name, function in given.items():
            if function is not None:
                arguments.function(name, function, rule="a function of a tensor")
        if not any(given.values()):
            raise ValueError("`weight`, `input` or `output` must be a function of a tensor, got none of them.")
        self.weight, self.input, self.output = weight, input, output or input
        self.backward, self.zero = checked_backward(backward), arguments.flag("zero", zero)

    def quantize_weight(self, weight: Tensor, bits: int, axis: int) -> Tensor:
        return self._rounded("weight", self.weight, weight)

    def quantize_input(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        return self._rounded("input", self.input, x)

    def quantize_output(self, x: Tensor, bits: int, low: Tensor, high: Tensor) -> Tensor:
        return self._rounded("output", self.output, x)

    def loses_zeros(self, bits: int) -> str:
        return "" if self.zero else "the function that rounds it gives something else for zero (`zero=False`)"

    def _rounded(self, name: str, function: Callable[[Tensor], Tensor] | None, x: Tensor) -> Tensor:
        return x if function is None else rounded(x, of_shape(x, function(x), f"`{name}`"), self.backward)


def round_weight(weight: Tensor, axis: int | None, bits: int = 8) -> Tensor:
    """Round to `bits` and back, symmetric for each output channel c.

        s_c = max|w_c| / (2^(bits-1) - 1),    s_c * round(w / s_c);    d/dw = 1

    Args:
        weight: Float32.
        axis: axis of the output channels, 0 or 1.
        bits: bits of one weight, 2 to 8.

    Returns:
        The same shape; an exact zero stays one.

    Example:
        >>> round_weight(paddle.to_tensor([[127.0, 0.6, 0.0]]), 0).tolist()
        [[127.0, 1.0, 0.0]]
    """
    return paddle._C_ops.fake_channel_wise_quantize_dequantize_abs_max(weight, bits, 0, axis)[0]  # 0: ties to even


def round_activation(x: Tensor, low: Tensor, high: Tensor, bits: int = 8) -> Tensor:
    """Round to unsigned `bits` and back, asymmetric; zero is always one of the n + 1 = 2^bits numbers.

        s = (max(high, 0) - min(low, 0)) / n,    z = round(-min(low, 0) / s),
        s * (q - z),    q = min(max(round(x / s) + z, 0), n);    d/dx = 1 where x is not cut, else 0

    Args:
        x: Float32.
        low, high: ends of its range, [1] each.
        bits: bits of one number, 2 to 8.

    Example:
        >>> x = paddle.to_tensor([-9.0, 0.4, 0.6, 999.0])
        >>> round_activation(x, paddle.to_tensor([-5.0]), paddle.to_tensor([250.0])).tolist()
        [-5.0, 0.0, 1.0, 250.0]
    """
    most = float(2**bits - 1)
    low, high = paddle.clip(low, max=0.0), paddle.clip(high, min=0.0)
    scale = paddle.clip((high - low) / most, min=1e-30)
    zero = paddle.round(-low / scale)
    # Paddle shows the line of a Program's op that fails: the remark on it is for whoever tests before training.
    cut = paddle.clip(x, -zero * scale, (most - zero) * scale)  # NaN? no training batch of finite numbers was seen yet
    # Paddle's op has 2^(bits - 1) - 1 steps on either side of zero: one more bit holds all of [-z, n - z].
    return _even_steps(cut, most * scale, bits + 1)


def sign_of(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1."""
    return paddle.cast(x >= 0.0, x.dtype) * 2.0 - 1.0


@contextmanager
def in_plain_ops() -> Iterator[None]:
    """Build roundings without gradients, of ops that every engine has: for models that are exported."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def _even_steps(x: Tensor, span: Tensor, bits: int) -> Tensor:
    """x in [-span, span] to 2^(bits - 1) - 1 even steps on either side of zero, straight through."""
    if _PLAIN.get():
        step = span / float(2 ** (bits - 1) - 1)
        return paddle.round(x / step) * step
    return paddle._C_ops.fake_quantize_dequantize_moving_average_abs_max(x, span, None, None, 0.9, bits, True, 0)[0]


def _unit_steps(r: Tensor, bits: int) -> Tensor:
    """q_k: r in [0, 1] to the nearest of 2^k levels."""
    most = float(2**bits - 1)
    return paddle.round(r * most) / most


def _within_one(x: Tensor) -> Tensor:
    return paddle.cast(x.abs() <= 1.0, x.dtype).detach()
