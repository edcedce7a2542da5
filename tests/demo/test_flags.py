# SPDX-License-Identifier: Apache-2.0
"""Bad flags end at the door, with a message that names them."""

import runpy
import sys

import calibration_images
import evaluate
import make_scenes
import pytest
from commands import DEMO
from precision import Precision
from rules import parse_args


def refusal(capsys, *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse_args(list(flags))
    assert ended.value.code == 2
    return capsys.readouterr().err.rsplit("error: ", 1)[1]


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--ratio 1.5", ["--ratio", "[0, 1]", "1.5"]),
        ("--ratio nan", ["--ratio", "nan"]),
        ("--threshold -0.1", ["--threshold", "-0.1"]),
        ("--sparse_block 2 0", ["--sparse_block", "at least 1", "0"]),
        ("--sparse_block 2", ["--sparse_block", "2 arguments"]),
        ("--block 4", ["--block", "such as 1x4", "4"]),
        ("--block 0x4", ["--block", "0x4"]),
        ("--block 1x4 --sparse_block 2 1", ["--sparse_block", "--block 1x4"]),
        ("--data svhn", ["--data", "svhn", "digits"]),
        ("--batch_size 0", ["--batch_size", "0"]),
        ("--use_gpu maybe", ["--use_gpu", "True or False", "maybe"]),
        ("--pretrained_model /no/where", ["--pretrained_model", "/no/where"]),
        ("--data_dir /no/where", ["--data_dir", "/no/where"]),
        ("--last_epoch 3", ["--last_epoch", "--checkpoint"]),
        ("--width 0.5 --model LeNet", ["--width", "MobileNet"]),
        ("--resume_epoch 3", ["--resume_epoch 3", "--pretrained_model"]),
        ("--rank_timeout 0", ["--rank_timeout", "at least 1", "0"]),
        ("--pruning_strategy gmp --pruning_mode threshold", ["--pruning_mode ratio"]),
        ("--pruning_strategy gmp --initial_ratio 0.9 --ratio 0.5", ["--initial_ratio", "0.5", "0.9"]),
        ("--recipe best --pruning_strategy dense --lr_strategy piecewise_decay", ["--recipe", "dense", "piecewise"]),
        ("--recipe best --pruning_strategy static", ["--recipe best", "--pruning_strategy static"]),
        ("--pruning_strategy static", ["static", "--pretrained_model"]),
        ("--recipe best --pruning_mode threshold", ["--recipe best", "--pruning_mode threshold"]),
        ("--recipe best", ["--recipe best", "--pretrained_model"]),
        ("--teacher_weight 0.5", ["--teacher_weight", "--recipe best"]),
        ("--recipe best --tunning_epochs 3", ["--recipe best", "--tunning_epochs"]),
        ("--pruning_strategy gmp --num_epochs 10 --pruning_epochs 11", ["--num_epochs 10", "11"]),
        ("--pruning_strategy gmp --num_epochs 4 --stable_epochs 4", ["--stable_epochs", "--num_epochs 4"]),
    ],
)
def test_senseless_flags_are_refused_by_name(capsys, flags, words):
    message = refusal(capsys, *flags.split())
    assert [word for word in words if word not in message] == []


def test_checkpoint_and_pretrained_model_exclude_each_other(capsys, tmp_path):
    (tmp_path / "epoch_0").mkdir()
    (tmp_path / "epoch_0" / "state.json").write_text('{"settings": {}, "epoch": 0}')
    message = refusal(capsys, "--checkpoint", str(tmp_path), "--pretrained_model", str(tmp_path))
    assert "--checkpoint" in message and "--pretrained_model" in message


def test_a_resumed_run_takes_its_own_flags_unless_others_are_given(tmp_path):
    (tmp_path / "epoch_0").mkdir()
    settings = '{"settings": {"lr": 0.25, "data": "mnist", "step_epochs": [5, 6]}, "epoch": 0}'
    (tmp_path / "epoch_0" / "state.json").write_text(settings)
    args = parse_args(["--checkpoint", str(tmp_path), "--data", "cifar10"])
    assert (args.lr, args.data, args.step_epochs) == (0.25, "cifar10", [5, 6])


def test_ranks_that_would_each_train_by_themselves_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    message = refusal(capsys, "--data", "digits", "--is_distributed", "False")
    assert "2 ranks" in message and "add --is_distributed True" in message


def test_gmp_phases_fill_the_epochs():
    args = parse_args("--pruning_strategy gmp --num_epochs 11 --stable_epochs 2".split())
    assert (args.stable_epochs, args.pruning_epochs, args.tunning_epochs) == (2, 5, 4)


def test_flags_read_as_paddleslim_users_write_them():
    args = parse_args(["--use_gpu", "False", "--local_sparsity=True", "--ce_test", "--sparse_block", "2", "1"])
    assert (args.use_gpu, args.local_sparsity, args.sparse_block) == (False, True, [2, 1])
    assert (args.seed, args.num_workers) == (111, 0)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--data", "nosuch"], "invalid choice: 'nosuch'"),
        (["--data", "digits", "--count", "0"], "--count: must be an integer of at least 1"),
        (["--data", "scenes", "--data_dir", "nosuch"], "there is no folder 'nosuch'"),
    ],
)
def test_images_to_calibrate_on_are_refused_in_a_line(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        calibration_images.main([str(tmp_path / "x.npy"), *words])
    assert message in capsys.readouterr().err and not (tmp_path / "x.npy").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    message = refusal(capsys, "--model_path", str(tmp_path / "file"))
    assert "--model_path must be a folder that can be written to" in message and "file is no folder" in message
    for script, out in ((calibration_images, tmp_path / "file" / "x.npy"), (make_scenes, tmp_path / "file")):
        with pytest.raises(SystemExit):
            script.main([str(out), "--data", "digits"])
        said = capsys.readouterr().err
        assert "file is no folder" in said and "Traceback" not in said


def test_what_the_demo_needs_is_said_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(SystemExit, match=r'^train.py: error: the demo needs tqdm; pip install -e "\.\[demo\]"$'):
        runpy.run_path(str(DEMO / "train.py"))
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(ValueError, match="^mean average precision needs pycocotools; pip install pycocotools$"):
        Precision(3, (64, 64))


def test_scenes_have_no_more_kinds_than_the_objects(tmp_path, capsys):
    with pytest.raises(SystemExit):
        make_scenes.main([str(tmp_path), "--kinds", "11"])
    assert "--kinds must be at most 10, which --data digits has, got 11" in capsys.readouterr().err


def test_a_model_for_other_images_is_said_without_paddles_stack(tmp_path, monkeypatch):
    def fails(args):
        raise ValueError(
            "In user code:\n\n    InvalidArgumentError: The number of channels.\n"
            "      [Hint: no.] (at /paddle/paddle/phi/infermeta/binary.cc:642)\n      [operator < conv2d > error]"
        )

    monkeypatch.setattr(evaluate, "evaluate", fails)
    (tmp_path / "model").write_text("")
    with pytest.raises(SystemExit, match=r"not take the images of --data digits: .*The number of channels\.$"):
        evaluate.main(["--pruned_model", str(tmp_path / "model"), "--data", "digits"])
