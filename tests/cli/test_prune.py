# SPDX-License-Identifier: Apache-2.0
"""`prune`: what it writes, `check` finds."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import paddle
import pytest
from command_lines import DIVISIBLE, WEIGHTS, zeros
from legacy_models import data
from nets import Net, convnet
from paddle import nn
from saved_nets import saved, structured

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.cli.prune import _least
from paddle_unstructured.export import open_model, recalibrate
from paddle_unstructured.reconstruction.reconstruct import ALLOCATION
from paddle_unstructured.saved_model import save_model

pytestmark = pytest.mark.usefixtures("static")


@pytest.mark.parametrize("path, out", [("in", "p"), ("in/model.json", "deep/folder/p"), ("train", "p")])
def test_prune_at_a_ratio_writes_exactly_that_many_zeros(model, run, path, out):
    code, said, err = run("prune", path, "--ratio", "0.75", "-o", out)
    assert (code, err) == (0, "")
    assert zeros(out, *WEIGHTS) == 102
    assert run("check", out, "--sparsity", "0.75")[0] == 0
    ending = ".pdparams" if path == "train" else ".pdiparams"
    assert said.rstrip().endswith(f"written: {out}.json, {out}{ending}")
    assert zeros(path, *WEIGHTS) == 0


def test_prune_takes_legacy_models(legacy, run, tmp_path):
    out = str(tmp_path / "p")
    assert run("prune", str(legacy / "conv.pdmodel"), "--ratio", "0.5", "-o", out)[0] == 0
    assert run("check", out, "--sparsity", "0.5")[0] == 0
    pruned = open_model(out)
    assert pruned.files.kind == "inference" and sorted(os.listdir(tmp_path)) == ["p.json", "p.pdiparams"]
    assert np.isfinite(pruned.run(x=data(3, 4, 2, 2))[0]).all()


def test_a_pruned_checkpoint_is_trained_on(model, run):
    run("prune", "train", "--ratio", "0.5", "-o", "p")
    net = Net(convnet, [2, 2, 4, 4], lambda: paddle.optimizer.Momentum(0.1, 0.9), own_scope=True, seed=2)
    with paddle.static.scope_guard(net.scope):
        paddle.static.load(net.program, "p", net.exe)
    pruner = UnstructuredPruner(net.program, ratio=0.5, scope=net.scope)
    pruner.set_static_masks()
    net.train(pruner, 2)
    assert net.zeros(*WEIGHTS) == 68


def test_prune_by_threshold(model, run):
    assert run("prune", "in", "--threshold", "0.1", "-o", "p")[0] == 0
    dense = open_model("in")
    below = sum(int((np.abs(dense.graph.array(name)) < np.float32(0.1)).sum()) for name in WEIGHTS)
    assert zeros("p", *WEIGHTS) == below > 0


PATTERNS = [
    ("2:4", None),
    ("1:4", None),
    ("1:2", None),
    ("2x1", "0.5"),
    ("4x1", "0.6"),
    ("1x4", "0.25"),
    ("2x2", "0.7"),
    ("3x1", "0.5"),
]


@pytest.mark.parametrize(
    "path, pattern, ratio", [*(("in", *one) for one in PATTERNS), ("train", *PATTERNS[0]), ("train", *PATTERNS[3])]
)
def test_what_prune_writes_check_finds(model, run, path, pattern, ratio):
    ratio_words = ["--ratio", ratio] if ratio else []
    code, _, err = run("prune", path, "--pattern", pattern, *ratio_words, "--params", DIVISIBLE, "-o", "p")
    assert (code, err) == (0, "")
    sparsity = ratio or str(1 - int(pattern[0]) / int(pattern[2]))
    assert run("check", "p", "--pattern", pattern, "--sparsity", sparsity, "--params", DIVISIBLE)[0] == 0
    assert run("check", path, "--pattern", pattern, "--sparsity", sparsity, "--params", DIVISIBLE)[0] == 1
    assert zeros("p", "conv2d_0.w_0") == 0


@pytest.mark.parametrize("allocation", ["Global", "LAMP", "Uniform", "ERK"])
def test_prune_with_each_allocation(model, run, allocation):
    assert run("prune", "--ratio", "0.5", "-o", "p", "--allocation", allocation, "in")[0] == 0
    assert zeros("p", *WEIGHTS) == 68
    assert run("check", "p", "--sparsity", "0.5", "--each")[0] == (0 if allocation == "Uniform" else 1)


def test_prune_1x1_convolutions_only(model, run):
    assert run("prune", "in", "--ratio", "0.75", "--conv1x1-only", "-o", "p")[0] == 0
    assert [zeros("p", name) for name in WEIGHTS] == [0, 12, 0]


def test_prune_by_rules(model, run):
    pytest.importorskip("yaml")
    Path("rules.yaml").write_text(
        "- {sparsity: 0.5}\n- {op_types: [linear], pattern: '1:4', sparsity: 0.75}\n"
        "- {op_names: [conv2d_0], exclude: true}\n"
    )
    code, _, err = run("prune", "in", "--rules", "rules.yaml", "-o", "p")
    assert (code, err) == (0, "")
    assert [zeros("p", name) for name in WEIGHTS] == [0, 8, 36]
    assert run("check", "p", "--pattern", "1:4", "--params", "linear.*")[0] == 0


def test_a_model_is_pruned_in_place_where_that_is_said(model, run):
    assert run("prune", "in", "--ratio", "0.5", "-o", "in/model", "--replace")[0] == 0
    assert zeros("in", *WEIGHTS) == 68 and sorted(os.listdir("in")) == ["model.json", "model.pdiparams"]


def test_an_emptied_layer_is_warned_of_in_plain_words(model, run):
    code, _, err = run("prune", "in", "--ratio", "1", "-o", "p", "--params", "linear.*")
    assert (code, err) == (0, "warning: no weight is left in linear_0.w_0; what is behind it gets no signal\n")


def calibration(folder: Path, count: int = 64) -> str:
    file = folder / "inputs.npy"
    np.save(file, np.random.default_rng(0).normal(size=(count, 2, 4, 4)).astype(np.float32))
    return str(file)


@pytest.mark.parametrize("method", ["reconstruct", "magnitude"])
def test_pruning_on_inputs_writes_as_many_zeros_and_says_how_near_the_outputs_are(model, run, tmp_path, method):
    file = calibration(tmp_path)
    code, said, _ = run("prune", "in", "--ratio", "0.5", "--calibrate", file, "--method", method, "-o", "p")
    assert code == 0 and "held-back inputs: relative error of the outputs 0." in said
    assert zeros("p", *WEIGHTS) == 68
    assert ("error by magnitude" in said) == (method == "reconstruct")


def test_of_several_allocations_the_one_whose_outputs_are_nearest_is_taken(model, run, tmp_path):
    words = ["prune", "in", "--ratio", "0.6", "--calibrate", calibration(tmp_path), "--steps", "0"]
    errors = {}
    for name in ("Uniform", "LAMP", "Global"):
        said = run(*words, "--allocation", name, "-o", name)[1]
        assert "is taken" not in said
        errors[name] = float(re.findall(r"relative error of the outputs ([\d.]+)", said)[-1])
    best, worst = min(errors, key=errors.get), max(errors, key=errors.get)
    assert errors[best] < errors[worst]
    for names in ([best, worst], [worst, best]):
        code, said, _ = run(*words, *(f"--allocation={name}" for name in names), "-o", "both")
        listed = ", ".join(f"{name} {errors[name]:.4f}" for name in names)
        assert code == 0 and said.endswith(f"\nby {listed}: {best} is taken\n")
        assert Path("both.pdiparams").read_bytes() == Path(f"{best}.pdiparams").read_bytes()
        os.remove("both.json")


def test_an_allocation_whose_outputs_are_no_numbers_is_not_the_nearest():
    assert [_least(errors) for errors in ([np.nan, 0.5, 0.6], [0.5, np.nan, 0.4], [np.nan])] == [1, 2, 0]


def test_made_images_get_what_the_first_norm_remembers(run, static, tmp_path, monkeypatch):
    def build(x):
        return nn.BatchNorm2D(8)(nn.Conv2D(3, 8, 3)(x))

    model = saved(tmp_path, build, (3, 12, 12))
    recalibrate(model, [{"x": 50.0 * structured(np.random.default_rng(0), 64, size=12) + 100.0}])
    save_model(model, tmp_path / "n")
    seen = []

    def note(_, arrays, *, made, **words):
        seen.append(arrays["x"])
        raise ValueError(f"made is {made}")

    monkeypatch.setattr("paddle_unstructured.cli.prune.reconstructed", note)
    monkeypatch.setattr("paddle_unstructured.cli.accelerate.reconstructed", note)
    np.save(tmp_path / "real.npy", structured(np.random.default_rng(0), 8, size=12))
    for words in (("prune", "--ratio", "0.5"), ("accelerate", "--prune", "0.5")):
        for given, made in (("random", True), (str(tmp_path / "real.npy"), False)):
            said = run(words[0], str(tmp_path / "n"), *words[1:], "--calibrate", given, "-o", "p")[2]
            assert f"made is {made}" in said  # batch norms see them as they saw the data of training
    assert 25.0 < seen[0].std() < 100.0 and 50.0 < seen[0].mean() < 150.0  # as they are made: 1 and 0


def test_lamp_by_name_is_what_inputs_get_by_default(model, run, tmp_path, monkeypatch):
    def note(*_, **words):
        raise ValueError(f"with {words['allocation']}")

    monkeypatch.setattr("paddle_unstructured.cli.prune.reconstructed", note)
    said = run("prune", "in", "--ratio", "0.5", "--calibrate", calibration(tmp_path), "--allocation", "LAMP", "-o", "p")
    assert said[0] == 2 and f"with {ALLOCATION}" in said[2]


FAULTY = """
import numpy as np
sample = np.zeros((2, 2, 4, 4), "float32")
def fails(): raise RuntimeError("no disk")
def fails_later():
    yield {"x": sample}
    raise KeyError("x")
def exits(): raise SystemExit(3)
def none(): pass
def mixed(): return [{"x": sample}, {"y": sample}]
def labelled(): yield sample, np.arange(2)
def listed(): yield [sample, np.arange(2)]
def sizes(): return [{"x": sample}, {"x": sample[:, :, 1:]}]
def endless():
    while True:
        yield sample
"""


@pytest.mark.parametrize(
    "words, message",
    [
        (["in", "--method", "reconstruct"], "--method reconstruct needs inputs; give --calibrate DATA."),
        (["train", "--calibrate", "inputs.npy"], "not a checkpoint; leave out --calibrate."),
        (["in", "--calibrate", "nothing.npy"], "nothing.npy"),
        (
            ["in", "--calibrate", "photoz", "--image-size", "4"],
            "--calibrate photoz: No such file or directory; give some hundred inputs",
        ),
        (["in", "--calibrate", "few.npy"], "at least 4 batches"),
        (["in", "--calibrate", "inputs.npy", "--mean", "0"], "--mean has no meaning for --calibrate inputs.npy"),
        (["in", "--calibrate", "random"], "the model must take images"),
        (
            ["--allocation", "LAMP", "--allocation", "ERK", "in"],
            "LAMP, ERK: several are tried on inputs; give --calibrate",
        ),
        (["in", "--image-size", "4"], "--image-size has no meaning without --calibrate"),
        (["in", "--calibrate", "reader.py:nothing"], "must have a function nothing()"),
        (["in", "--calibrate", "reader.py"], "name a function of reader.py, reader.py:batches say"),
        (["in", "--calibrate", "reader.py:fails"], "fails() of reader.py fails: RuntimeError: no disk"),
        (["in", "--calibrate", "reader.py:fails_later"], "fails_later() of reader.py fails: KeyError: 'x'"),
        (["in", "--calibrate", "reader.py:none"], "that gives arrays, or dicts of them by input name, got NoneType"),
        (["in", "--calibrate", "reader.py:mixed"], "must give the inputs ['x'] in every batch, got ['y'] as batch 2"),
        (["in", "--calibrate", "reader.py:labelled"], "got a tuple of 2, [2, 2, 4, 4] and [2]; leave labels out"),
        (["in", "--calibrate", "reader.py:listed"], "got a list of 2, [2, 2, 4, 4] and [2]; leave labels out"),
        (
            ["in", "--calibrate", "reader.py:sizes"],
            "must fit the input 'x', [2, 2, 4, 4] (or [batches, ...] of such), got",
        ),
        (["in", "--calibrate", "reader.py:exits"], "exits() of reader.py fails: it ends the process, with code 3"),
        (["in", "--calibrate", "reader.py:endless"], "it must end, and gave more than"),
        (["in", "--calibrate", "wrong.py:batches"], "wrong.py cannot be imported: SyntaxError"),
    ],
)
def test_inputs_that_do_not_serve_are_refused_and_nothing_is_written(model, run, tmp_path, monkeypatch, words, message):
    calibration(tmp_path)
    monkeypatch.setattr("paddle_unstructured.cli.calibration._MOST", 1 << 16)
    (tmp_path / "reader.py").write_text(FAULTY)
    (tmp_path / "wrong.py").write_text("x = (")
    np.save(tmp_path / "few.npy", np.zeros((2, 2, 4, 4), np.float32))
    code, out, err = run("prune", *words, "--ratio", "0.5", "-o", "p")
    assert (code, out) == (2, "") and message in err
    assert not os.path.exists("p.json")


READER = """
import numpy as np
def batches():
    for seed in range(32):
        yield {"x": np.random.default_rng(seed).normal(size=(2, 2, 4, 4)).astype("float32")}
"""


@pytest.mark.parametrize("words", ["prune in --ratio 0.5", "accelerate in --prune 0.5"])
def test_a_place_where_nobody_may_write_is_said_before_anything_is_computed(model, run, tmp_path, monkeypatch, words):
    calibration(tmp_path)
    monkeypatch.setattr("paddle_unstructured.reconstruction.reconstruct.reconstruct", None)
    (tmp_path / "file").write_text("")
    code, out, err = run(*words.split(), "--calibrate", "inputs.npy", "-o", "file/model")
    assert (code, out) == (2, "") and "file/model: it cannot be written: " in err and "is no folder" in err


@pytest.mark.parametrize("of_paddle", [False, True])
def test_a_python_reader_gives_the_inputs(model, run, tmp_path, of_paddle):
    reader = READER.replace('{"x": np', '{"x": paddle.to_tensor(np').replace('"float32")', '"float32"))')
    leaves_static_mode = "import paddle\npaddle.disable_static()\n" + reader
    (tmp_path / "reader.py").write_text(leaves_static_mode if of_paddle else READER)
    code, said, err = run("prune", "in", "--ratio", "0.5", "--calibrate", "reader.py:batches", "-o", "p")
    assert (code, err) == (0, "") and "held-back inputs: relative error" in said and zeros("p", *WEIGHTS) == 68


@pytest.fixture
def images(static, tmp_path, monkeypatch):
    """A model of images of open size, `photos/model`, and a folder of pictures."""
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    net = Net(
        lambda x: paddle.nn.Linear(8, 4)(paddle.nn.Conv2D(3, 8, 3)(x).mean([2, 3])), [-1, 3, -1, -1], own_scope=True
    )
    with paddle.static.scope_guard(net.scope):
        paddle.static.save_inference_model("photos/model", [net.input], [net.output], net.exe, program=net.program)
    (tmp_path / "pictures").mkdir()
    for i in range(16):
        pixels = np.kron(np.random.default_rng(i).integers(0, 255, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        pillow.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")


@pytest.mark.parametrize(
    "command", ["prune photos --ratio 0.5", "accelerate photos --int8", "accelerate photos --prune 0.5 --int8"]
)
def test_a_reader_gives_images_of_several_sizes(images, run, tmp_path, command):
    (tmp_path / "reader.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    random = np.random.default_rng(0)\n"
        "    return [random.normal(size=(8, 3, size, 12)).astype('float32') for size in (12, 16, 12, 20)]\n"
    )
    code, said, err = run(*command.split(), "--calibrate", "reader.py:batches", "-o", "p")
    assert (
        code == 0 and "warning" not in err and os.path.isfile("p.json")
    )  # kernels may have to be compiled, which is said
    assert ("held-back inputs: relative error of the outputs 0." in said) == ("0.5" in command)


@pytest.mark.parametrize(
    "data, words", [("pictures", ["--mean", "0.5", "--std", "0.25"]), ("random", ["--images", "16"])]
)
def test_a_folder_of_images_or_made_ones_will_do(images, run, data, words):
    size = ["--image-size", "12", *words]
    code, said, err = run("prune", "photos", "--ratio", "0.5", "--calibrate", data, *size, "-o", "p")
    assert (code, err) == (0, "") and zeros("p", "conv2d_0.w_0", "linear_0.w_0") == 124
    assert ("measured on made images" in said) == (data == "random")
    code, _, err = run("prune", "photos", "--ratio", "0.5", "--calibrate", data, "-o", "q")
    assert code == 2 and "--image-size must be given" in err and not os.path.exists("q.json")


def test_a_folder_without_images_is_refused_by_the_name_of_the_flag(images, run, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no image")
    for words, flag in (("prune photos --ratio 0.5 -o p", "--calibrate"), ("benchmark photos photos", "--data")):
        code, _, err = run(*words.split(), flag, "texts", "--image-size", "12")
        assert code == 2 and f"{flag} must be a folder of images, files that end in .jpg" in err
        assert "got texts, where there is none" in err


def test_ctrl_c_leaves_nothing_half_written(model, run, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("paddle_unstructured.cli.reconstruction.Bar.__call__", stop)
    code, out, _ = run("prune", "in", "--ratio", "0.5", "--calibrate", calibration(tmp_path), "-o", "p")
    assert (code, out) == (130, "") and not [file for file in os.listdir() if file.startswith("p")]


def test_the_bar_says_the_layer_its_error_and_the_time_left(capsys):
    from types import SimpleNamespace

    from paddle_unstructured.cli.reconstruction import Bar

    class Terminal(list):
        write, flush, isatty = list.append, lambda self: None, lambda self: True

    bar = Bar(out := Terminal())
    bar(SimpleNamespace(name="conv2d_0.w_0", after=0.25), 0.5)
    bar(SimpleNamespace(name="linear_0.w_0", after=None), 1.0)
    assert "##########.........." in out[0] and "50 %" in out[0] and "conv2d_0.w_0 error 0.2500" in out[0]
    assert out[1].endswith("linear_0.w_0\n")


def test_where_there_is_no_terminal_the_bar_is_a_line_now_and_then(monkeypatch):
    from io import StringIO
    from types import SimpleNamespace

    from paddle_unstructured.cli import reconstruction

    row = SimpleNamespace(name="conv2d_0.w_0", after=0.25)
    clock = iter([0.0, 5.0, 30.0, 31.0, 60.0])
    monkeypatch.setattr(reconstruction.time, "monotonic", lambda: next(clock))
    bar = reconstruction.Bar(out := StringIO())
    for done in (0.1, 0.5, 0.6, 1.0):
        bar(row, done)
    assert out.getvalue() == (" 50 % 30 s left  conv2d_0.w_0 error 0.2500\n100 % 0 s left  conv2d_0.w_0 error 0.2500\n")


def test_a_folder_that_holds_a_model_is_no_place_for_another(model, run):
    code, out, err = run("prune", "in", "--ratio", "0.5", "-o", "in")
    assert (code, out) == (2, "") and "got the folder 'in', which holds the model in/model" in err
    assert not os.path.exists("in.json")
