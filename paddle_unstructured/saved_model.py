# SPDX-License-Identifier: Apache-2.0
"""A saved model in memory: its Program, and a scope of its own that holds its weights."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
import paddle

from . import arguments
from .arguments import StrPath
from .formats import pair, pdiparams, pdparams
from .formats.atomic import aside, check_writable, finish
from .formats.scratch import stopped_at_limit
from .graph import PirGraph, open_graph
from .graph.inference_mode import to_inference
from .graph.lengths import check_lengths
from .graph.program import walk
from .graph.rounded import range_variables
from .graph.values import exists, kind_of
from .inference import check_opens, is_half, reason

_TRAINED_OTHERWISE = {  # ops with results that only training reads: what follows their tensors
    "batch_norm": ("is_test", "momentum", "epsilon", "data_format", "use_global_stats", "trainable_statistics"),
    "instance_norm": ("epsilon",),
    "layer_norm": ("epsilon", "begin_norm_axis"),
    "group_norm": ("epsilon", "groups", "data_format"),
    "dropout": ("is_test", "mode", "seed", "fix_seed"),
    "rrelu": ("lower", "upper", "is_test"),
}
_CONVERTED = b"paddle_unstructured_run"  # how the names of the runtime's operators begin
KINDS = {
    "inference": (".json", ".pdiparams"),
    "legacy": (".pdmodel", ".pdiparams"),
    "checkpoint": (".json", ".pdparams"),
}


@dataclass(frozen=True)
class Files:
    """Where a saved model is.

    Attributes:
        kind: "inference" (PIR: .json and .pdiparams), "legacy" (.pdmodel and .pdiparams) or "checkpoint" (.json and
            .pdparams, as `paddle.static.save` writes them).
        prefix: The path without these endings.
    """

    kind: str
    prefix: str

    @property
    def program(self) -> str:
        return self.prefix + KINDS[self.kind][0]

    @property
    def params(self) -> str:
        return self.prefix + KINDS[self.kind][1]


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        files: files that it came from.
        program: A PIR Program; of a checkpoint the training Program, else an inference Program.
        scope: A scope of its own, with its weights.
        place: The device.
        feeds: Names of its inputs.
        fetches: Values of the Program that it returns; none for a checkpoint.
    """

    files: Files
    program: Any
    scope: Any
    place: Any
    feeds: tuple[str, ...]
    fetches: tuple[Any, ...]

    @property
    def graph(self) -> PirGraph:
        return open_graph(self.program, self.scope, self.place)

    @property
    def param_names(self) -> frozenset[str]:
        """Names of all its variables, running statistics included."""
        values = [op.result(0) for op in self.program.global_block().ops if op.name() == "pd_op.data"]
        return frozenset(value.name for value in self.program.global_block().all_parameters()) | {
            value.name for value in values if value.persistable
        }

    @property
    def inputs(self) -> dict[str, Any]:
        """Name -> value of the Program, for each of `feeds`."""
        named = {
            op.attrs()["name"]: op.result(0) for op in self.program.global_block().ops if op.name() == "pd_op.data"
        }
        return {name: named[name] for name in self.feeds}

    def copy(self) -> Model:
        """The same Program with weights of its own, in a scope of its own."""
        scope = paddle.static.Scope()
        for name in self.param_names:
            if self.scope.find_var(name) is None:  # a mask that another scope has, of the same Program
                continue
            scope.var(name).get_tensor().set(self.graph.stored(name), self.place)
        return replace(self, scope=scope)

    def run(self, **feeds: np.ndarray) -> list[np.ndarray]:
        """What the model returns for these inputs.

        Raises:
            ValueError: It is a checkpoint; a length is more than the steps of its sequence; a model of half precision
                has an op that the device cannot compute in it; an operator of another library fails without a reason,
                as ours does on a damaged plan.
        """
        check_outputs(self)
        check_lengths(self.program, feeds, "`feeds`")
        try:
            outputs: list[np.ndarray] = paddle.static.Executor(self.place).run(
                self.program, feed=feeds, fetch_list=list(self.fetches), scope=self.scope
            )
        except RuntimeError as error:
            if str(error) == "std::exception":  # all that Paddle lets through of a custom operator's error
                raise ValueError(
                    f"an operator in {self.files.program} fails, and Paddle does not say why; `create_predictor` and "
                    "`Session` of paddle_unstructured.runtime check a converted model first, and say it."
                ) from error
            if not is_half(self.program):
                raise
            raise ValueError(
                f"{self.files.prefix} computes in half precision, which {self.place} cannot do ({reason(error)}); run "
                "it on a GPU, or export it in float32."
            ) from error
        return outputs


def find_model(path: StrPath) -> Files:
    """The model that a path means: a prefix, one of its files, or a folder that holds one model.

    Raises:
        FileNotFoundError: There is none; says what was looked for.
        ValueError: A folder with more than one.
    """
    path = arguments.path("path", path)
    stem = prefix_of(path)
    finish(stem)
    kinds = [kind for kind, endings in KINDS.items() if stem == path or path.endswith(endings)]
    found = [files for files in (Files(kind, stem) for kind in kinds) if _exists(files)]
    if os.path.isdir(path):
        inside = _inside(path)
        if len(inside) > 1:
            raise ValueError(f"{path} must hold one model, but holds {', '.join(f.params for f in inside)}; name one.")
        if inside and found:
            both = f"{inside[0].program}, in the folder, and {found[0].program}, beside it"
            raise ValueError(f"{path} must mean one model, but there are {both}; give the one of these files.")
        found = inside or found
    if not found:
        raise FileNotFoundError(
            f"no model at {path}: looked for .json with .pdiparams (inference), .pdmodel with "
            f".pdiparams (legacy) and .json with .pdparams (training checkpoint){_halves(stem) or _near(path)}."
        )
    return found[0]


def _inside(folder: StrPath) -> list[Files]:
    """The models that a folder holds."""
    found = (
        Files(kind, str(file)[: -len(endings[1])])
        for kind, endings in KINDS.items()
        for file in sorted(Path(folder).glob("*" + endings[1]))
    )
    return [files for files in found if _exists(files)]


def prefix_of(path: StrPath) -> str:
    """A path without the ending of a model's file, if it has one."""
    path = arguments.path("path", path)
    return next((path[: -len(end)] for ends in KINDS.values() for end in ends if path.endswith(end)), path)


def _halves(prefix: str) -> str:
    """What is there of a model that is not whole."""
    there = [prefix + end for end in sorted({end for ends in KINDS.values() for end in ends}, reverse=True)]
    found = [file for file in there if os.path.isfile(file)]
    return f"; only {', '.join(found)} is there" if found else ""


def _near(path: str) -> str:
    """What is there instead of a model."""
    others = {".pu": "it is compressed; `decompress` it first", ".onnx": "it is an ONNX model, which is not read"}
    said = next((text for end, text in others.items() if path.endswith(end) and os.path.isfile(path)), "")
    if os.path.isdir(path):
        folders = sorted(each for each in Path(path).iterdir() if each.is_dir())
        models = [files.prefix for folder in folders for files in _inside(folder)]
        halves = [
            file for file in sorted(Path(path).iterdir()) if file.suffix in (".pdmodel", ".pdiparams", ".pdparams")
        ]
        if models:
            more = f" and {len(models) - 4} more" * (len(models) > 4)
            said = f"in its folders there are {', '.join(models[:4])}{more}"
        elif halves:
            said = f"only {', '.join(map(str, halves[:4]))} is there"
    return said and f"; {said}"


def _exists(files: Files) -> bool:
    return os.path.isfile(files.program) and os.path.isfile(files.params)


def open_model(path: StrPath, place: Any = None) -> Model:
    """Load a saved model into a scope of its own.

    Args:
        path: path of the model, as for `find_model`. A legacy model is translated to PIR.
        place: device; default: the device Paddle is set to.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: A file cannot be read, or the weights are not those of the Program; or Paddle is in dynamic mode.

    Example:
        >>> model = open_model("runs/gmp90/inference")  # doctest: +SKIP
        >>> print(sparsity_report(model.program, model.scope))  # doctest: +SKIP
    """
    files = find_model(path)
    if paddle.in_dynamic_mode():
        raise ValueError(
            "Paddle is in dynamic mode, and saved models are static Programs; call paddle.enable_static() first."
        )
    program = _translated(files.program) if files.kind == "legacy" else read_program(files.program)
    scope = paddle.static.Scope()
    graph = open_graph(program, scope, place)
    if files.kind == "checkpoint":
        graph.set_params(pdparams.load(files.params), files.params)
    else:
        _read_params(files, graph)
    block = program.global_block()
    feeds = tuple(op.attrs()["name"] for op in block.ops if op.name() == "pd_op.data" and not op.result(0).persistable)
    return Model(files, program, scope, graph.place, feeds, read_fetches(program))


def check_outputs(model: Model) -> None:
    """Raise ValueError for a checkpoint, which cannot be run."""
    if not model.fetches:
        raise ValueError(
            f"{model.files.prefix} must be an inference model to be run, not a checkpoint, which does not say what its "
            "outputs are; export it first."
        )


def in_inference_mode(model: Model) -> Model:
    """The model with its norms and dropout set to inference; its Program is changed.

    Raises:
        ValueError: Its outputs depend on random numbers; see `to_inference`. Or on ranges of `quantize_aware`.
    """
    ranges = range_variables(model.program)
    if ranges:
        raise ValueError(
            f"{model.files.prefix} must depend on inputs and params alone, and reads {listed(ranges)}, ranges of "
            "`quantize_aware`, which no inference model holds; write it with `export` of what that returned (of a "
            "Program that was read from a file: build it anew, call `quantize_aware`, and load its variables)."
        )
    to_inference(model.program)
    return replace(model, fetches=read_fetches(model.program))


def listed(names: Sequence[str]) -> str:
    """The first three names, for a message."""
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def read_fetches(program: Any) -> tuple[Any, ...]:
    """What a saved Program returns, in order."""
    return tuple(op.operand_source(0) for op in program.global_block().ops if op.name() == "pd_op.fetch")


def save_model(model: Model, out: StrPath) -> None:
    """Write an inference model with Paddle's `save_inference_model`: `out`.json and `out`.pdiparams.

    The files are complete, and `paddle.inference` has opened them, before they get their names; the `.json` says which
    `.pdiparams` belongs to it.

    Raises:
        ValueError: `paddle.inference` cannot open the model; nothing was written.
    """
    arguments.instance("model", model, Model, rule="what `open_model` gave")
    with drafts(arguments.path("out", out)) as draft:
        with paddle.static.scope_guard(model.scope):
            paddle.static.save_inference_model(
                draft,
                list(model.inputs.values()),
                list(model.fetches),
                paddle.static.Executor(model.place),
                program=model.program,
            )
        files = Files("inference", draft)
        if _exists(files):  # a model without params has one file, which drafts does not let pass for a model
            _check_whole(files)
            kinds = {kind_of(op) for op in walk(model.program.global_block())}
            check_opens(files.program, files.params, half=is_half(model.program), kinds=kinds)


@contextmanager
def drafts(path: StrPath, *, stamped: bool = True) -> Iterator[str]:
    """A prefix to write files under; what is there at the end is checked, and moved to `path`: all or nothing.

    Args:
        path: the prefix; the ending of a model's file is left off.
        stamped: whether an inference model's `.json` shall say which `.pdiparams` belongs to it.

    Raises:
        ValueError: `path` ends as a folder does, or is one that holds a model, which would be found in the place of the
            new one; or a file would stand in the place of what is no file.
        OSError: There is no space left, say; what was there before is still there.
    """
    check_out(path)
    with aside(prefix_of(path)) as draft:
        yield draft
        files = Files("inference", draft)
        if _exists(files):
            _check_whole(files)
            if stamped:
                pair.stamp(files.program, files.params)


def check_out(path: StrPath) -> None:
    """See that a model may be written there; for the beginning of what takes minutes.

    Raises:
        ValueError: `path` ends as a folder does, or is one that holds a model, which would be found in the place of the
            new one.
        OSError: Nobody may write there.
    """
    path = arguments.path("path", path)
    if path.endswith(("/", os.sep)):
        raise ValueError(
            f"`path` must be the prefix of the files to write, such as {os.path.join(path, 'model')!r}, got {path!r}."
        )
    held = _inside(path) if os.path.isdir(path) else []
    if held:
        raise ValueError(
            f"`path` must be the prefix of the files to write, got the folder {path!r}, which holds the model "
            f"{held[0].prefix}: write there, or under another name."
        )
    check_writable(prefix_of(path))


def check_other(files: Files, out: StrPath, why: str) -> None:
    """See that what is written takes no place of the model that it is made from.

    Args:
        files: of the model.
        out: the prefix of what is written.
        why: what would be lost, a clause.

    Raises:
        ValueError: The two have a file in common, links followed.
    """
    prefix = prefix_of(arguments.path("out", out))
    written = {os.path.realpath(prefix + ending) for endings in KINDS.values() for ending in endings}
    if os.path.realpath(prefix) == os.path.realpath(files.prefix) or written & {
        os.path.realpath(file) for file in (files.program, files.params)
    }:
        raise ValueError(f"`out` must be another name than the model's, got {out}: {why}.")


def _check_whole(files: Files) -> None:
    """Raise OSError unless the files of an inference model are whole; Paddle does not notice that a disk is full."""
    try:
        pdiparams.scan(files.params, files.program)
    except ValueError as error:
        folder = os.path.dirname(files.prefix)
        full = errno.ENOSPC if shutil.disk_usage(folder).free < 1 << 20 else errno.EIO
        raise OSError(
            errno.EFBIG if stopped_at_limit(folder) else full, f"not written whole: {error}", files.prefix
        ) from error


def read_program(file: str) -> Any:
    """The Program in a `.json` file; ValueError if there is none. Paddle must be in static mode."""
    open(file, "rb").close()  # Paddle's reader takes what it may not read for empty
    program = paddle.static.Program()
    try:
        paddle.base.core.deserialize_pir_program(file, program)  # paddle.load tries pickle first, which runs code
    except Exception as error:  # whatever Paddle's reader meets in a file that is not its own
        raise ValueError(f"{file} cannot be read as a Program of Paddle 3: {error}") from error
    if not all(op.name() for op in walk(program.global_block())):
        with open(file, "rb") as text:
            if _CONVERTED in text.read():
                raise ValueError(
                    f"{file} was written by `accelerate`, for `Session` and `create_predictor` of "
                    "paddle_unstructured.runtime; give the model that it was made from."
                )
        raise ValueError(
            f"{file} has ops that Paddle {paddle.__version__} does not know; install the Paddle that wrote it."
        )
    _share_variables(program)
    return program


def _share_variables(program: Any) -> None:
    """One op for each variable: two recurrent layers declare one (of dropout) twice, and Paddle's Predictor, which
    reads a tensor for each declaration, then finds too few in the `.pdiparams` that Paddle itself has saved."""
    first: dict[str, Any] = {}
    for op in list(program.global_block().ops):
        if op.name() == "builtin.parameter":
            value = op.result(0)
            kept = first.setdefault(value.name, value)
            if kept is not value and list(kept.shape) == list(value.shape) and kept.dtype == value.dtype:
                value.replace_all_uses_with(kept)
                program.global_block().remove_op(op)


def _read_params(files: Files, graph: PirGraph) -> None:
    """Set all variables of an inference Program, one after the other: never all of them twice in memory."""
    wanted = {
        name: (str(value.dtype).split(".")[-1], tuple(value.shape))
        for name, value in sorted(graph.persistables().items())
    }
    found = pdiparams.scan(files.params, files.program, wanted)
    if files.kind == "inference":
        pair.check(files.program, files.params)
    for tensor in found:
        if tensor.dtype.startswith("float8"):
            raise ValueError(
                f"{files.params} must not hold float8, which numpy cannot give to Paddle, but holds "
                f"{tensor.name} as {tensor.dtype}."
            )
        graph.store(tensor.name, pdiparams.read(files.params, tensor))
    for op in graph.program.global_block().ops:
        if op.name() == "builtin.parameter" and not op.result(0).persistable:
            graph.store(op.attrs()["parameter_name"], np.zeros(0, np.uint8))  # of an LSTM's dropout: never saved


def _translated(file: str) -> Any:
    """A legacy ProgramDesc as a PIR Program, with `data` ops for its inputs as PIR has them."""
    try:
        described = paddle.base.core.ProgramDesc(Path(file).read_bytes())
        if not described.num_blocks():
            raise ValueError("it is empty")
        program = paddle.pir.translate_to_pir(described)
    except Exception as error:
        raise ValueError(f"{file} cannot be translated to a Program of Paddle 3: {error}") from error
    block = program.global_block()
    for op in [op for op in block.ops if op.name() == "pd_op.feed"]:
        fed = op.result(0)
        with paddle.static.program_guard(program):
            paddle.pir.set_insertion_point(op)
            fed.replace_all_uses_with(paddle.static.data(op.attrs()["name"], fed.shape, fed.dtype))
        block.remove_op(op)
    for op in [op for op in walk(block) if kind_of(op) in _TRAINED_OTHERWISE and not all(map(exists, op.results()))]:
        _complete(program, op)
    return program


def _complete(program: Any, op: Any) -> None:
    """Give an op all its results. Models of Paddle 2 leave out what only training reads, and training such an op (to
    reconstruct, to measure a norm anew) ends the process."""
    words = [op.attrs()[word] for word in _TRAINED_OTHERWISE[kind_of(op)]]
    operands = [value if exists(value) else None for value in op.operands_source()]
    with paddle.static.program_guard(program):
        paddle.pir.set_insertion_point(op)
        made = getattr(paddle._C_ops, op.name().split(".")[-1])(*operands, *words)
    for old, new in zip(op.results(), made if isinstance(made, (list, tuple)) else [made]):
        if exists(old):
            old.replace_all_uses_with(new)
    op.get_parent_block().remove_op(op)


def drop_unread(program: Any) -> None:
    """Take out params that nothing reads, which Paddle 3.0 leaves in what it saves."""
    block = program.global_block()
    for op in [op for op in block.ops if op.name() == "builtin.parameter" and not op.result(0).all_used_ops()]:
        block.remove_op(op)
