"""A saved model in memory: its Program, and a scope of its own that holds its weights."""
from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import paddle

from ..checkpoint import put_in_place
from ..graph import PirGraph, open_graph

KINDS = {"inference": (".json", ".pdiparams"), "legacy": (".pdmodel", ".pdiparams"), "checkpoint": (".json", ".pdparams")}


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
        files: Where it came from.
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
        """Of all its variables, running statistics included."""
        values = [op.result(0) for op in self.program.global_block().ops if op.name() == "pd_op.data"]
        return frozenset(value.name for value in self.program.global_block().all_parameters()
                         ) | {value.name for value in values if value.persistable}

    def run(self, **feeds: np.ndarray) -> list[np.ndarray]:
        """What the model returns for these inputs."""
        return paddle.static.Executor(self.place).run(self.program, feed=feeds, fetch_list=list(self.fetches),
                                                      scope=self.scope)


def find_model(path: str) -> Files:
    """The model that a path means: a prefix, one of its files, or a folder that holds one model.

    Raises:
        FileNotFoundError: There is none; says what was looked for.
        ValueError: A folder with more than one.
    """
    if os.path.isdir(path):
        found = [Files(kind, str(file)[:-len(endings[1])]) for kind, endings in KINDS.items()
                 for file in sorted(Path(path).glob("*" + endings[1]))]
        found = [files for files in found if os.path.isfile(files.program)]
        if len(found) > 1:
            raise ValueError(f"{path} must hold one model, but holds {', '.join(f.params for f in found)}; name one.")
    else:
        stem = next((path[:-len(end)] for ends in KINDS.values() for end in ends if path.endswith(end)), path)
        kinds = [kind for kind in KINDS if not path.endswith(".pdparams") or kind == "checkpoint"]
        found = [Files(kind, stem) for kind in kinds if all(os.path.isfile(stem + end) for end in KINDS[kind])]
    if not found:
        raise FileNotFoundError(f"no model at {path}: looked for .json with .pdiparams (inference), .pdmodel with "
                                ".pdiparams (legacy) and .json with .pdparams (training checkpoint).")
    return found[0]


def open_model(path: str, place: Any = None) -> Model:
    """Load a saved model into a scope of its own.

    Args:
        path: As for `find_model`. A legacy model is translated to PIR.
        place: Default: the device Paddle is set to.

    Raises:
        FileNotFoundError: There is no model.
        ValueError: A file cannot be read, or the weights are not those of the Program; or Paddle is in dynamic mode.

    Example:
        >>> model = open_model("runs/gmp90/inference")  # doctest: +SKIP
        >>> print(sparsity_report(model.program, model.scope))  # doctest: +SKIP
    """
    files = find_model(path)
    if paddle.in_dynamic_mode():
        raise ValueError("Paddle is in dynamic mode, and saved models are static Programs; call "
                         "paddle.enable_static() first.")
    program = _translated(files.program) if files.kind == "legacy" else read_program(files.program)
    scope = paddle.static.Scope()
    graph = open_graph(program, scope, place)
    if files.kind == "checkpoint":
        graph.load_params(files.params)
    else:
        _read_params(files.params, program, scope, graph.place)
    block = program.global_block()
    feeds = tuple(op.attrs()["name"] for op in block.ops if op.name() == "pd_op.data" and not op.result(0).persistable)
    fetches = tuple(op.operand_source(0) for op in block.ops if op.name() == "pd_op.fetch")
    return Model(files, program, scope, graph.place, feeds, fetches)


def save_model(model: Model, path: str) -> None:
    """Write an inference model with Paddle's `save_inference_model`: `path`.json and `path`.pdiparams.

    The files are complete before they get their names.
    """
    inputs = {op.attrs()["name"]: op.result(0) for op in model.program.global_block().ops if op.name() == "pd_op.data"}
    with drafts(path) as draft, paddle.static.scope_guard(model.scope):
        paddle.static.save_inference_model(draft, [inputs[name] for name in model.feeds], list(model.fetches),
                                           paddle.static.Executor(model.place), program=model.program)


@contextmanager
def drafts(path: str) -> Iterator[str]:
    """A prefix to write files under; what is there at the end is moved to the prefix `path`, weights last."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    draft = tempfile.mkdtemp(dir=folder, prefix=f".{name}.")
    try:
        yield os.path.join(draft, name)
        for file in sorted(os.listdir(draft)):
            put_in_place(os.path.join(draft, file), os.path.join(folder, file))
    finally:
        shutil.rmtree(draft)


def read_program(file: str) -> Any:
    """The Program in a `.json` file; ValueError if there is none. Paddle must be in static mode."""
    try:
        program = paddle.load(file)
    except Exception as error:  # whatever Paddle's reader meets in a file that is not its own
        raise ValueError(f"{file} cannot be read as a Program of Paddle 3: {error}") from error
    if not isinstance(program, paddle.pir.Program):
        raise ValueError(f"{file} holds no Program of Paddle 3.")
    return program


def _read_params(file: str, program: Any, scope: Any, place: Any) -> None:
    values = program.global_block().all_parameters()
    paddle.base.libpaddle.pir.create_loaded_parameter(values, scope, paddle.static.Executor(place)._default_executor)
    names = sorted(value.name for value in values)  # the order of the file
    tensors = [scope.var(name).get_tensor() for name in names]
    paddle.base.core.load_combine_func(file, names, tensors, False, place)


def _translated(file: str) -> Any:
    """A legacy ProgramDesc as a PIR Program, with `data` ops for its inputs as PIR has them."""
    try:
        program = paddle.pir.translate_to_pir(paddle.base.core.ProgramDesc(Path(file).read_bytes()))
    except Exception as error:
        raise ValueError(f"{file} cannot be translated to a Program of Paddle 3: {error}") from error
    block = program.global_block()
    for op in [op for op in block.ops if op.name() == "pd_op.feed"]:
        fed = op.result(0)
        with paddle.static.program_guard(program):
            paddle.pir.set_insertion_point(op)
            fed.replace_all_uses_with(paddle.static.data(op.attrs()["name"], fed.shape, fed.dtype))
        block.remove_op(op)
    return program
