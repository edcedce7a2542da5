"""How fast pruned models run, beside other engines, as a table.

    python scripts/bench_runtime.py [--threads 1 2] [--rounds 12] [--others PYTHON]
    python scripts/bench_runtime.py break-even

MobileNetV1 and ResNet-50 with random weights, pruned at random or in blocks; batch 1, 224 x 224. Each engine has a
process of its own; in every round each runs in turn, alone, and its best of a few runs counts. A figure "n x" is the
median over the rounds of (the engine's time / ours): above 1, we are faster. `--others` names a Python with openvino,
MNN or deepsparse, whichever is there; onnxruntime and paddle2onnx belong to this one.
`break-even` times the sparse kernels against our dense one on single layers: where rule.py has its numbers from.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demo")]
Run = Callable[[np.ndarray], Any]
CASES = (("MobileNet", 0.75, 1), ("MobileNet", 0.9, 1), ("MobileNet", 0.75, 2), ("MobileNet", 0.9, 2),
         ("MobileNet", 0.75, 4), ("MobileNet", 0.9, 4), ("ResNet50", 0.9, 1))
BEST_OF = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["table", "break-even"], default="table")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="thread counts (default: 1)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="batch sizes (default: 1)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each comparison (default: 12)")
    parser.add_argument("--cases", default="", help="only cases whose name contains this, as in 'MobileNet 75'")
    parser.add_argument("--others", action="append", default=[], metavar="PYTHON", help="may be given more than once")
    parser.add_argument("--worker", nargs=4, metavar=("ENGINE", "MODEL", "THREADS", "BATCH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(*args.worker)
    elif args.what == "break-even":
        break_even()
    else:
        with tempfile.TemporaryDirectory() as folder:
            table(Path(folder), args)


# ---------------------------------------------------------------- engines, each in a process of its own

def session(model: str, threads: int) -> Run:
    from paddle_unstructured.export.runtime.session import Session
    opened = Session(model + "_fast", threads=threads)
    return opened.run


def predictor(model: str, threads: int) -> Run:
    from paddle_unstructured.export.runtime.predictor import create_predictor
    opened = create_predictor(model, threads=threads)
    source, target = (opened.get_input_handle(opened.get_input_names()[0]),
                      opened.get_output_handle(opened.get_output_names()[0]))

    def run(x: np.ndarray) -> np.ndarray:
        source.copy_from_cpu(x)
        opened.run()
        return target.copy_to_cpu()
    return run


def onnxruntime(model: str, threads: int) -> Run:
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    opened = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name
    return lambda x: opened.run(None, {name: x})


def openvino(model: str, threads: int) -> Run:
    import openvino as ov
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
                                                      "INFERENCE_PRECISION_HINT": "f32"})
    return compiled


def mnn(model: str, threads: int) -> Run:
    import MNN
    import MNN.nn
    converted = model[:-len(".onnx")] + ".mnn"
    if not Path(converted).exists():
        subprocess.run([str(Path(sys.executable).with_name("mnnconvert")), "-f", "ONNX", "--modelFile", model,
                        "--MNNModel", converted, "--bizCode", "x", "--detectSparseSpeedUp"], check=True,
                       capture_output=True)
    interpreter = MNN.Interpreter(converted)
    opened = interpreter.createSession({"numThread": threads, "backend": "CPU", "precision": "high"})
    source = interpreter.getSessionInput(opened)

    def run(x: np.ndarray) -> Any:
        if tuple(source.getShape()) != x.shape:
            interpreter.resizeTensor(source, x.shape)
            interpreter.resizeSession(opened)
        source.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe))
        interpreter.runSession(opened)
        return interpreter.getSessionOutput(opened).getNumpyData()
    return run


def deepsparse(model: str, threads: int) -> Run:
    import deepsparse as ds
    engines: dict[int, Any] = {}

    def run(x: np.ndarray) -> Any:
        if len(x) not in engines:
            engines[len(x)] = ds.Engine(model, batch_size=len(x), num_cores=threads)
        return engines[len(x)].run([x])
    return run


ENGINES = {"ours": session, "ours in Predictor": predictor, "Paddle oneDNN": predictor, "ONNX Runtime": onnxruntime,
           "ONNX Runtime int8": onnxruntime, "OpenVINO": openvino, "MNN": mnn, "DeepSparse": deepsparse}
MODULES = {"OpenVINO": "openvino", "MNN": "MNN", "DeepSparse": "deepsparse"}  # of --others


def serve(engine: str, model: str, threads: str, batch: str) -> None:
    """The worker: for every line on stdin, run a few times and print the best time and the peak memory."""
    x = np.random.default_rng(0).normal(size=(int(batch), 3, 224, 224)).astype("float32")
    run = ENGINES[engine](model, int(threads))
    run(x)
    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(BEST_OF):
            begun = time.perf_counter()
            run(x)
            times.append(time.perf_counter() - begun)
        print(json.dumps([min(times), peak_memory()]), flush=True)


def peak_memory() -> float:
    """Of this process, in MB. Not getrusage's figure, which counts the parent's memory before exec."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@dataclass
class Worker:
    """An engine's process, and what it has measured."""

    name: str
    process: subprocess.Popen
    seconds: list[float]
    megabytes: float = 0.0

    @staticmethod
    def start(python: str, name: str, model: str, threads: int, batch: int) -> Worker | None:
        process = subprocess.Popen([python, __file__, "--worker", name, model, str(threads), str(batch)], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for line in process.stdout:
            if line.strip() == "ready":
                return Worker(name, process, [])
        print(f"{name} does not run here: {(process.stderr.read().strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return None

    def turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, self.megabytes = json.loads(next(line for line in self.process.stdout if line.startswith("[")))
        self.seconds.append(seconds)

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()


# ---------------------------------------------------------------- models

def prune(weight: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    """Zeros in the blocks of `block` outputs with the smallest absolute sums; weight: [outputs, inputs]."""
    scores = np.abs(weight).reshape(-1, block, weight.shape[1]).sum(1)
    last = round(sparsity * scores.size) - 1
    return weight * np.repeat(scores > np.partition(scores.ravel(), last)[last], block, axis=0)


def save(folder: Path, net: str, sparsity: float, block: int) -> str:
    """Save a pruned net, its conversion and its ONNX file; MobileNet: 1x1 and fc; ResNet-50: all but the stem."""
    import models
    import paddle
    import paddle2onnx

    from paddle_unstructured.export.runtime import convert
    paddle.enable_static()
    paddle.seed(0)
    random, scope, prefix = np.random.default_rng(0), paddle.static.Scope(), str(folder / f"{net}-{sparsity}-{block}")
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.scope_guard(scope):
        with paddle.static.program_guard(program, startup):
            x = paddle.static.data("x", [-1, 3, 224, 224], "float32")
            layers = getattr(models, net)(3, 1000)
            layers.eval()
            y = layers(x)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        for value in program.global_block().all_parameters():
            tensor = scope.find_var(value.name).get_tensor()
            tensor.set(pruned_values(random, net, np.array(tensor), sparsity, block), paddle.CPUPlace())
        paddle.static.save_inference_model(prefix, [x], [y], executor, program=program)
    paddle2onnx.export(prefix + ".json", prefix + ".pdiparams", prefix + ".onnx", opset_version=13)
    convert(prefix, prefix + "_fast")
    return prefix


def pruned_values(random: np.random.Generator, net: str, old: np.ndarray, sparsity: float, block: int) -> np.ndarray:
    if old.ndim == 1:  # norms; positive, so that no layer dies
        return random.uniform(0.5, 1.5, old.shape).astype("float32")
    if old.ndim == 2:
        return np.ascontiguousarray(prune(old.T, sparsity, block).T)
    small = old.shape[1] <= 3  # the stem and the depthwise layers stay dense
    if small or (net == "MobileNet" and old.shape[2] > 1):
        return old
    return prune(old.reshape(len(old), -1), sparsity, block).reshape(old.shape)


def quantize(onnx: str) -> str:
    """Static int8 (QDQ) by ONNX Runtime, calibrated on random input: what it costs, not what it knows."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(CalibrationDataReader):
        def __init__(self) -> None:
            random = np.random.default_rng(0)
            self.left = [{"x": random.normal(size=(1, 3, 224, 224)).astype("float32")} for _ in range(4)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None
    prepared, out = onnx[:-5] + "_prepared.onnx", onnx[:-5] + "_int8.onnx"
    quant_pre_process(onnx, prepared)
    quantize_static(prepared, out, Inputs(), per_channel=True, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8)
    return out


# ---------------------------------------------------------------- the table

def table(folder: Path, args: argparse.Namespace) -> None:
    rivals = [(name, python) for python in args.others for name, module in MODULES.items()
              if importable(python, module)]
    names = ["ONNX Runtime", "Paddle oneDNN", "ONNX Runtime int8", *[name for name, _ in rivals], "ours in Predictor"]
    print(f"| model | zeros | threads | batch | ours | {' | '.join(names)} | file | peak memory |")
    print("|---|---|---|---|---|" + "---|" * len(names) + "---|---|", flush=True)
    for net, sparsity, block in CASES:
        case = f"{net} {sparsity:.0%} {'random' if block == 1 else f'{block}x1 blocks'}"
        if args.cases not in case:
            continue
        with silence():
            prefix = save(folder, net, sparsity, block)
            int8 = quantize(prefix + ".onnx")
        for threads in args.threads:
            for batch in args.batch:
                print(row(case, prefix, int8, threads, batch, rivals, args.rounds, names), flush=True)


@contextmanager
def silence() -> Iterator[None]:
    """Converters talk on file descriptor 1; the table shall stand alone there."""
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def importable(python: str, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def row(case: str, prefix: str, int8: str, threads: int, batch: int, rivals: list[tuple[str, str]], rounds: int,
        names: list[str]) -> str:
    """One line of the table: our time, and how many times longer each of the others takes."""
    wanted = [("ours", sys.executable, prefix), ("ours in Predictor", sys.executable, prefix + "_fast"),
              ("Paddle oneDNN", sys.executable, prefix), ("ONNX Runtime", sys.executable, prefix + ".onnx"),
              ("ONNX Runtime int8", sys.executable, int8),
              *[(name, python, prefix + ".onnx") for name, python in rivals]]
    started = [Worker.start(python, name, model, threads, batch) for name, python, model in wanted]
    workers = {worker.name: worker for worker in started if worker is not None}
    for _ in range(rounds):
        for worker in workers.values():
            worker.turn()
            time.sleep(0.02)  # until threads that spin have gone to sleep
    for worker in workers.values():
        worker.stop()
    ours = workers["ours"]

    def ratio(name: str) -> str:
        if name not in workers:
            return "-"
        return f"{statistics.median(a / b for a, b in zip(workers[name].seconds, ours.seconds)):.2f} x"
    net, zeros = case.split(" ", 1)
    before, after = (sum(Path(p + end).stat().st_size for end in (".json", ".pdiparams")) / 1e6
                     for p in (prefix, prefix + "_fast"))
    return (f"| {net} | {zeros} | {threads} | {batch} | {1e3 * statistics.median(ours.seconds):.2f} ms | "
            + " | ".join(ratio(name) for name in names)
            + f" | {before:.1f} -> {after:.1f} MB | {ours.megabytes:.0f} MB; ONNX Runtime "
              f"{workers['ONNX Runtime'].megabytes:.0f} MB |")


# ---------------------------------------------------------------- break-even

LAYERS = ((32, 64, 1, 112), (128, 128, 1, 56), (256, 256, 1, 28), (512, 512, 1, 14), (1024, 1024, 1, 7),
          (64, 64, 3, 56), (256, 256, 3, 14))  # inputs, outputs, kernel, height and width


def break_even() -> None:
    """Per layer and block: time of the dense kernel / the sparse one, by sparsity; and where the line crosses 1."""
    from paddle_unstructured.export.runtime.plan import Window
    sparsities = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
    print("| layer | block | " + " | ".join(f"{sparsity:.0%}" for sparsity in sparsities) + " |")
    print("|---|---|" + "---|" * len(sparsities), flush=True)
    for inputs, outputs, kernel, size in LAYERS:
        window, random = Window((kernel, kernel), pad=(kernel // 2,) * 4), np.random.default_rng(0)
        x = random.normal(size=(1, inputs, size, size)).astype("float32")
        for block in (1, 2, 4):
            weights = [prune(random.normal(size=(outputs, inputs * kernel ** 2)).astype("float32"), sparsity, block)
                       for sparsity in sparsities]
            dense = one_layer(weights[0], inputs, window, 0)
            ratios = [paired(dense, one_layer(weight, inputs, window, block), x) for weight in weights]
            print(f"| {inputs} -> {outputs}, {kernel}x{kernel}, {size}x{size} | {block}x1 | "
                  + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)


def one_layer(weight: np.ndarray, inputs: int, window: Any, block: int) -> Any:
    from paddle_unstructured.export.runtime.engine import Engine
    from paddle_unstructured.export.runtime.plan import PlanWriter
    writer = PlanWriter(inputs)
    value = writer.convolution(0, weight.reshape(len(weight), inputs, *window.kernel), np.zeros(len(weight)), window,
                               block=block)
    writer.output(writer.add("global_pool", [value]), rank=2)
    return Engine(writer.text, writer.arrays)


def paired(a: Any, b: Any, x: np.ndarray) -> float:
    """Median of a's time / b's time, in turn."""
    def timed(engine: Any) -> float:
        begun = time.thread_time()
        engine.run(x)
        return time.thread_time() - begun
    times = [(timed(a), timed(b)) for _ in range(23)][3:]
    return statistics.median(first / second for first, second in times)


if __name__ == "__main__":
    main()
