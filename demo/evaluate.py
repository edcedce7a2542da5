# SPDX-License-Identifier: Apache-2.0
"""Evaluate what train.py saved: a run, a checkpoint, bare weights or an exported inference model.

python demo/evaluate.py --pruned_model runs/gmp90
python demo/evaluate.py --pruned_model runs/gmp90/inference --json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import paddle
from checkpoints import STATE, BadCheckpoint, State, find_weights, load_weights
from data import SPECS, MissingData, load_source, spec_of
from inference import BEFORE_NMS, load_inference
from metrics import measure
from models import MODELS
from options import add_flag, existing, folder, number
from programs import build_net, parameters
from rules import has_gpu

from paddle_unstructured import all_weights, conv1x1_only, sparsity_report
from paddle_unstructured.inference import is_paddles, reason


def build_parser() -> argparse.ArgumentParser:
    recorded = "; default: as recorded by train.py"
    parser = argparse.ArgumentParser(description="Test a saved model and report how sparse it is.")
    parser.add_argument(
        "--pruned_model",
        type=existing,
        default="models",
        help="a run's --model_path (its best epoch, or else its latest), epoch_N, .pdparams, or an inference model "
        "(default: models, where train.py writes)",
    )
    parser.add_argument("--data", choices=sorted(SPECS), help=f"data set to test on{recorded}")
    parser.add_argument("--data_dir", type=folder, help=f"folder with its files{recorded}")
    parser.add_argument(
        "--image_size", type=number(int, 32, 4096), help=f"height and width of masks and boxes{recorded}"
    )
    parser.add_argument("--model", choices=MODELS, help=f"architecture of bare weights{recorded}")
    parser.add_argument("--width", type=number(float, 0.01, 4), help=f"MobileNet's channel multiplier{recorded}")
    parser.add_argument("--batch_size", type=number(int, 1), default=64, help="images per batch (default: 64)")
    parser.add_argument(
        "--num_workers", type=number(int, 0), default=0, help="processes that prepare batches (default: 0)"
    )
    add_flag(parser, "--use_gpu", "test on a GPU; default: if there is one", default=None)
    parser.add_argument("--log_period", type=number(int, 1), default=100, help="taken and not needed: a bar shows that")
    add_flag(parser, "--json", "print one JSON object and nothing else")
    return parser


def complete(args: argparse.Namespace, folder: Path) -> None:
    """Fill in the flags that were not given from the state that train.py left in `folder`."""
    settings = State.read(folder).settings if (folder / STATE).is_file() else {}
    for name in ("data", "data_dir", "image_size", "model", "width"):
        if getattr(args, name) is None:
            setattr(args, name, settings.get(name))
    args.select = conv1x1_only if settings.get("prune_params_type") == "conv1x1_only" else all_weights
    if args.width is None:
        args.width = 1.0
    if args.data is None:
        raise ValueError(f"{folder} does not say what it was trained on; give --data (and --model, --width)")


def load(args: argparse.Namespace, place: paddle.base.core.Place) -> tuple:
    """Return (path, program, scope, name to feed, values to fetch) of the model."""
    model = load_inference(args.pruned_model, place)
    if model is not None:
        path = Path(model.files.prefix)
        if path.parent.name == BEFORE_NMS:
            raise ValueError(f"{path} ends before NMS, and is for a Session; give {path.parents[1] / 'inference'}")
        complete(args, path.parent)
        return path, model.program, model.scope, model.feeds[0], model.fetches
    weights = find_weights(args.pruned_model)
    complete(args, weights.parent)
    if args.model is None:
        raise ValueError(f"{weights} holds weights without a model; give --model")
    net = build_net(args.model, **spec_of(args).words(args.model), width=args.width)
    load_weights(weights, parameters(net.test), place)
    return weights, net.test, paddle.static.global_scope(), net.feeds[0], net.answers


def evaluate(args: argparse.Namespace) -> dict:
    """Test the model: {"model", "data", metrics, "images", "sparsity"}; classifiers have "top1" and "top5"."""
    paddle.enable_static()
    use_gpu = has_gpu() if args.use_gpu is None else args.use_gpu
    exe = paddle.static.Executor(paddle.CUDAPlace(0) if use_gpu else paddle.CPUPlace())
    path, program, scope, image, answers = load(args, exe.place)
    with paddle.static.scope_guard(scope):
        found = measure(
            exe,
            program,
            image=image,
            answers=answers,
            task=spec_of(args).task(args.model),
            source=load_source(args.data, args.data_dir, "test", args.image_size),
            batch_size=args.batch_size,
            num_workers=args.num_workers,
        )
        report = sparsity_report(program, select=args.select)
    return {"model": str(path), "data": args.data, **found, "sparsity": report}


def show(result: dict, as_json: bool) -> None:
    report = result.pop("sparsity")
    if as_json:
        print(json.dumps({**result, "sparsity": json.loads(report.to_json())}))
        return
    print(report)
    model, data, images = (result.pop(name) for name in ("model", "data", "images"))
    words = {"top1": "top-1", "top5": "top-5", "map": "mAP", "map50": "mAP at IoU 0.5", "miou": "mIoU"}
    found = ", ".join(f"{words.get(name, name)} {value:.4f}" for name, value in result.items())
    print(f"{model} on {data}: {found} of {images} images")


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    try:
        result = evaluate(args)
    except (BadCheckpoint, MissingData, ValueError) as error:
        if is_paddles(error):
            sys.exit(f"evaluate.py: error: the model does not take the images of --data {args.data}: {reason(error)}")
        sys.exit(f"evaluate.py: error: {error}")
    show(result, args.json)


if __name__ == "__main__":
    main()
