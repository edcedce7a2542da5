# SPDX-License-Identifier: Apache-2.0
"""How small a pruned model gets on disk: the table of docs/benchmarks.md, "Size on disk".

    python benchmarks/sizes.py [--level 19]

MobileNetV1 (224x224, random weights), all 1x1 convolutions and the final fully connected layer pruned at random by our
pruner, saved with save_inference_model. Ratios are against that .pdiparams file; the compressed files hold the Program
(.json) too. Beside them the honest baseline, the same .pdiparams file under plain zstd of the same level. Each file is
restored and checked: fp32 byte for byte, of all others that every zero is still one. Takes about a minute on one core.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import paddle
import zstandard

from paddle_unstructured import Global, Random, UnstructuredPruner
from paddle_unstructured.compression.compress import compress, decompress
from paddle_unstructured.compression.tensors import read_compressed
from paddle_unstructured.graph import Param

SPARSITIES, VALUES = (0.75, 0.9), ("fp32", "bf16", "fp16", "int8", "int4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", type=int, default=19, help="of zstd, 1 to 22 (default: 19)")
    level = parser.parse_args().level
    paddle.enable_static()
    with tempfile.TemporaryDirectory() as folder:
        columns = [sizes(Path(folder) / f"{sparsity}", sparsity, level) for sparsity in SPARSITIES]
    print("| stored as | " + " | ".join(f"{sparsity:.0%}" for sparsity in SPARSITIES) + " |")
    print("|---" * (1 + len(SPARSITIES)) + "|")
    raw = columns[0]["as it is"]
    for row in columns[0]:
        cells = [f"{column[row] / 1e6:.2f} MB, {raw / column[row]:.2f}x" for column in columns]
        print(f"| {row} | " + " | ".join(cells) + " |")


def sizes(folder: Path, sparsity: float, level: int) -> dict[str, int]:
    """Bytes of every way to store the model pruned to this sparsity."""
    model, small = str(folder / "model"), str(folder / "small")
    save_pruned(model, sparsity)
    content = Path(model + ".pdiparams").read_bytes()
    found = {
        "as it is": len(content),
        f"`zstd -{level}` of that file": len(zstandard.ZstdCompressor(level=level).compress(content)),
    }
    dense = None
    for values in VALUES:
        found[f'compress(values="{values}")'] = compress(model, small, values=values, level=level).after
        restored = dict(read_compressed(small))
        dense = dense or restored  # of fp32
        assert all((restored[name][array == 0] == 0).all() for name, array in dense.items())
        decompress(small, str(folder / "restored"))
        assert values != "fp32" or (folder / "restored.pdiparams").read_bytes() == content
    return found


def save_pruned(prefix: str, sparsity: float) -> None:
    main, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope), paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        paddle.seed(0)
        image = paddle.static.data("image", [None, 3, 224, 224])
        logits = paddle.vision.models.mobilenet_v1()(image)
        executor.run(startup)
        pruner = UnstructuredPruner(
            main, mode="ratio", ratio=sparsity, select=is_pruned, criterion=Random(), allocation=Global(floor=0.0)
        )
        pruner.step()
        for name in pruner.masks:  # the product with a mask is -0.0 for a negative weight: a bit of sign for every zero
            tensor = scope.find_var(name).get_tensor()
            tensor.set(np.array(tensor) + np.float32(0), paddle.CPUPlace())
        paddle.static.save_inference_model(prefix, [image], [logits], executor, program=main)


def is_pruned(param: Param) -> bool:
    return param.is_conv1x1 or param.role == "linear"


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    warnings.simplefilter("ignore")
    main()
