# SPDX-License-Identifier: Apache-2.0
"""Which quantizer rounds which layer, with how many bits: a list of entries, of which later ones override earlier."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Collection, Mapping, Sequence

from .. import arguments
from ..graph.base import Param
from .quantizers import AffineQuantizer, Quantizer

TYPES = ("weight", "input", "output")
FLOAT32 = 32  # bits of what is not rounded
_DEFAULT = AffineQuantizer()
_KEYS = ("quant_types", "quant_bits", "op_types", "op_names", "exclude", "quantizer")
_ROLES = {"Conv2D": ("conv2d", "depthwise_conv2d"), "Conv2d": ("conv2d", "depthwise_conv2d"), "Linear": ("linear",)}
_KNOWN = ("conv2d", "depthwise_conv2d", "linear")


@dataclass(frozen=True)
class Rounding:
    """How a layer is rounded.

    Attributes:
        quantizer: the part that rounds.
        weight, input, output: bits; None: not rounded.
        explicit: whether somebody asked for outputs in so many words, by "quant_types": then those are rounded too that
            no other layer reads.
    """

    quantizer: Quantizer
    weight: int | None
    input: int | None
    output: int | None
    explicit: bool = True

    def at(self, kind: str) -> tuple[Quantizer, int] | None:
        """The quantizer and the bits of one of `TYPES`; None: not rounded."""
        bits = {"weight": self.weight, "input": self.input, "output": self.output}[kind]
        return None if bits is None else (self.quantizer, bits)

    @property
    def words(self) -> str:
        """The bits for people, "4 / 8 / -": weight, input, output."""
        return " / ".join("-" if bits is None else str(bits) for bits in (self.weight, self.input, self.output))

    @property
    def is_int8(self) -> bool:
        """Whether the int8 kernels compute with what this rounds to."""
        return self.quantizer.is_int8 and (self.weight, self.input) == (8, 8) and self.output in (8, None)


@dataclass(frozen=True)
class _Entry:
    types: tuple[str, ...]
    bits: dict[str, int | None]
    roles: tuple[str, ...]
    names: tuple[str, ...]
    exclude: bool
    quantizer: Quantizer
    explicit: bool

    def covers(self, param: Param) -> bool:
        named = not self.names or any(fnmatchcase(param.name, name) for name in self.names)
        return named and (not self.roles or param.role in self.roles)

    def rounding(self) -> Rounding | None:
        if self.exclude:
            return None
        weight, input_, output = (self.bits[kind] if kind in self.types else None for kind in TYPES)
        return Rounding(self.quantizer, weight, input_, output, self.explicit)


def roundings(config: Any, params: Sequence[Param]) -> dict[str, Rounding | None]:
    """The rounding of every weight by name; None: it stays float32.

    Args:
        config: None for 8 bits everywhere, or a list of entries {"quant_types": ["weight", "input"], "quant_bits": 8 or
            {"weight": 4, "input": 8}, "op_types": ["conv2d"], "op_names": ["fc*"], "exclude": True, "quantizer": part}.
        params: the weights.

    Raises:
        ValueError: An entry with unknown keys, types, ops or names, or bits that its quantizer does not have.
        TypeError: No list of dicts.
    """
    if config is None:
        return {param.name: Rounding(_DEFAULT, 8, 8, 8, explicit=False) for param in params}
    entries = _entries(config)
    found: dict[str, Rounding | None] = {param.name: None for param in params}
    for i, entry in enumerate(entries):
        _check_names(f"config[{i}]['op_names']", entry.names, params)
        found.update({param.name: entry.rounding() for param in params if entry.covers(param)})
    return found


def _entries(config: Any) -> list[_Entry]:
    if isinstance(config, (str, bytes, Mapping)) or not isinstance(config, Sequence):
        raise arguments.wrong_kind(
            "config", 'a list of entries, [{"quant_types": ["weight"], "quant_bits": 4}] say', config
        )
    if not config:
        raise ValueError("`config` must have at least one entry, got none; leave it out for 8 bits everywhere.")
    return [_entry(f"config[{i}]", entry) for i, entry in enumerate(config)]


def _entry(name: str, entry: Any) -> _Entry:
    if not isinstance(entry, Mapping):
        raise arguments.wrong_kind(name, "a dict", entry)
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ValueError(f"`{name}` must have keys among {', '.join(_KEYS)}, got {arguments.shown(unknown[0])}.")
    for key in ("quant_types", "op_types", "op_names"):
        if isinstance(entry.get(key), Collection) and not len(entry[key]):
            raise ValueError(f"`{name}['{key}']` must name at least one, got none; leave it out for all.")
    quantizer = entry.get("quantizer", _DEFAULT)
    arguments.instance(f"{name}['quantizer']", quantizer, Quantizer, rule="a Quantizer, DoReFaQuantizer() say")
    _check_range_of_bits(f"{name}['quantizer']", quantizer)
    exclude = arguments.flag(f"{name}['exclude']", entry.get("exclude", False))
    types = _words(f"{name}['quant_types']", entry.get("quant_types", TYPES), TYPES)
    roles = _words(f"{name}['op_types']", entry.get("op_types", ()), ("default", *_KNOWN, *_ROLES))
    bits = _bits(f"{name}['quant_bits']", entry.get("quant_bits"), types, quantizer)
    if not exclude:
        _check_methods(f"{name}['quantizer']", quantizer, [kind for kind in types if bits[kind] is not None])
    return _Entry(
        types,
        bits,
        () if "default" in roles else tuple(role for word in roles for role in _ROLES.get(word, (word,))),
        tuple(arguments.names(f"{name}['op_names']", entry.get("op_names", ()))),
        exclude,
        quantizer,
        "quant_types" in entry,
    )


def _check_range_of_bits(name: str, quantizer: Quantizer) -> None:
    given: Any = quantizer.bits  # what a user's class says
    pair = list(given) if isinstance(given, (tuple, list)) else []
    if len(pair) != 2 or not all(isinstance(each, int) for each in pair) or not 1 <= pair[0] <= pair[1] < FLOAT32:
        raise ValueError(
            f"`{name}.bits` must be (least, most), 1 <= least <= most < {FLOAT32}, got {arguments.shown(given)}."
        )


def _check_methods(name: str, quantizer: Quantizer, kinds: Sequence[str]) -> None:
    """See that a quantizer of the user's own has what it is asked for."""
    asked = [f"quantize_{kind}" for kind in kinds] + ["quantize_gradient"] * (quantizer.gradient_bits is not None)
    for method in asked:
        own = [method, "quantize_input"] if method == "quantize_output" else [method]
        if all(getattr(type(quantizer), each) is getattr(Quantizer, each) for each in own):
            way = "set `gradient_bits` to None" if method == "quantize_gradient" else "leave it out of `quant_types`"
            raise ValueError(
                f"`{name}` must override {method} to round that, and {type(quantizer).__name__} does not; write it, or "
                f"{way}."
            )
    if "weight" in kinds and not isinstance(quantizer.loses_zeros(quantizer.bits[1]), str):
        raise ValueError(
            f"`{name}.loses_zeros` must give the reason why a zero does not stay one, or '', got "
            f"{arguments.shown(quantizer.loses_zeros(quantizer.bits[1]))}."
        )


def _words(name: str, words: Any, known: Sequence[str]) -> tuple[str, ...]:
    given = arguments.names(name, [words] if isinstance(words, str) else words, rule=f"words among {', '.join(known)}")
    return tuple(arguments.one_of(name, word, known) for word in given)


def _bits(name: str, bits: Any, types: Sequence[str], quantizer: Quantizer) -> dict[str, int | None]:
    least, most = quantizer.bits
    given = bits if isinstance(bits, Mapping) else dict.fromkeys(types, most if bits is None else bits)
    unknown = [kind for kind in given if kind not in types]
    if unknown:
        hint = "; add it to `quant_types`" if unknown[0] in TYPES else ""
        raise ValueError(f"`{name}` must have keys among {', '.join(types)}, got {arguments.shown(unknown[0])}{hint}.")
    rule = f"an int in [{least}, {most}], which {type(quantizer).__name__} knows, or {FLOAT32} for float32"
    found: dict[str, int | None] = {}
    for kind in types:
        count = arguments.whole(f"{name}", given.get(kind, most), least=1, rule=rule)
        if count != FLOAT32 and not least <= count <= most:
            raise ValueError(arguments.sentence(name, rule, count))
        found[kind] = None if count == FLOAT32 else count
    return found


def _check_names(name: str, wanted: Sequence[str], params: Sequence[Param]) -> None:
    for word in wanted:
        if not any(fnmatchcase(param.name, word) for param in params):
            known = ", ".join(param.name for param in params)
            raise ValueError(f"`{name}` must name weights, got {word!r}, which is none; there are {known}.")
