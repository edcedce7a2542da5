# SPDX-License-Identifier: Apache-2.0
"""The command lines of PaddleSlim's own demos, flag by flag as its README and shell files write them."""

import argparse
import logging
import shlex

import pytest
from commands import history, run
from rules import is_distributed, parse_args

BASE = "--batch_size 64 --data imagenet --pruning_mode ratio --ratio 0.55 --lr 0.05 --model MobileNet"
GMP = (
    "--batch_size 64 --data imagenet --pruning_mode ratio --ratio 0.75 --lr 0.005 --num_epochs 108 "
    "--step_epochs  71 88 --initial_ratio 0.15 --pruning_steps 100 --stable_epochs 0 --pruning_epochs 54 "
    "--tunning_epochs 54 --pruning_strategy gmp"
)
COMMANDS = {
    "README, threshold": "--data imagenet --lr 0.05 --pruning_mode threshold --threshold 0.01",
    "README, ratio": "--data imagenet --lr 0.05 --pruning_mode ratio --ratio 0.5",
    "train_mnist.sh": '--batch_size=256 --data="mnist" --pruning_mode="threshold" --ratio=0.45 --threshold=1e-5 '
    '--lr=0.075 --pretrained_model="/PaddleSlim/demo/pretrained_model/MobileNetV1_pretrained"',
    "train_imagenet_cpu_base.sh": BASE + " --use_gpu False",
    "train_imagenet_dist_gmp.sh": GMP + " --model MobileNet --last_epoch -1",
    "dygraph, train_imagenet_dist_gmp.sh": GMP,
    "dygraph, train_cifar10.sh": '--batch_size=256 --lr=0.05 --threshold=0.01 --pruning_mode="threshold" '
    '--data="cifar10"',
    "dygraph, README on many GPUs": "--data imagenet --lr 0.05 --pruning_mode threshold --threshold 0.01 "
    "--batch_size 256",
    "prune_cifar100.sh": "--data cifar100 --num_epochs 300 --step_epochs  220 260 --stable_epochs 0 "
    "--pruning_epochs 180 --tunning_epochs 120 --ratio_steps_per_epoch 2 --initial_ratio 0.10 --lr 0.01 "
    "--lr_strategy linear_decay --pruning_strategy gmp",
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS)
def test_every_flag_is_taken(line):
    assert parse_args(shlex.split(line)).model == "MobileNet"


@pytest.mark.parametrize("name", ["train_imagenet_dist_gmp.sh", "dygraph, train_imagenet_dist_gmp.sh"])
def test_the_published_gmp_recipe_is_meant_as_it_was_published(name):
    args = parse_args(shlex.split(COMMANDS[name]))
    assert (args.lr_strategy, args.step_epochs, args.pruning_steps) == ("piecewise_decay", [71, 88], 100)
    assert (args.stable_epochs, args.pruning_epochs, args.tunning_epochs) == (0, 54, 54)


def test_what_is_not_given_is_what_paddleslim_takes():
    args = parse_args(["--data", "imagenet", "--pruning_strategy", "gmp"])
    assert (args.num_epochs, args.pruning_epochs, args.tunning_epochs, args.pruning_steps) == (120, 60, 60, 120)
    assert (args.model, args.lr, args.ratio, args.initial_ratio) == ("MobileNet", 0.1, 0.55, 0.15)
    assert (args.test_period, args.model_period, args.batch_size, args.l2_decay) == (5, 10, 64, 3e-5)


def test_steps_per_epoch_become_steps():
    assert parse_args(shlex.split(COMMANDS["prune_cifar100.sh"])).pruning_steps == 360


def test_a_pretrained_model_that_is_not_there_is_said_on_mnist_and_refused_on_imagenet(caplog, capsys):
    with caplog.at_level(logging.WARNING, "train"):
        assert parse_args(["--data", "mnist", "--pretrained_model", "/no/where"]).pretrained_model is None
    assert "there is no /no/where: training starts from scratch" in caplog.text
    with pytest.raises(SystemExit):
        parse_args(["--data", "imagenet", "--pretrained_model", "/no/where"])
    assert "there is no '/no/where'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked, started, told", [(None, 1, False), (None, 2, True), (False, 2, False), (True, 1, True)]
)
def test_what_the_launcher_started_trains_together_unless_asked_otherwise(monkeypatch, asked, started, told):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", str(started))
    assert is_distributed(argparse.Namespace(is_distributed=asked)) == told


def test_resume_epoch_goes_on_as_checkpoint_and_last_epoch_do(tmp_path):
    flags = ("--data", "digits", "--lr", "0.05", "--pruning_mode", "threshold", "--threshold", "0.01")
    every = ("--test_period", "1", "--model_period", "1")
    run("train.py", *flags, *every, "--num_epochs", 2, "--model_path", tmp_path / "models")
    resumed = ("--pretrained_model", tmp_path / "models", "--resume_epoch", 1, "--num_epochs", 3)
    assert "resuming" in run("train.py", *flags, *resumed).stdout
    assert [row["epoch"] for row in history(tmp_path / "models", 2)] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["MobileNetV2", "ResNet34"])
def test_the_further_models_train_and_are_evaluated(tmp_path, model):
    width = ("--width", 0.25) if model == "MobileNetV2" else ()
    flags = ("--data", "digits", "--batch_size", 256, "--lr", 0.05, "--num_epochs", 1)
    run("train.py", *flags, "--model", model, *width, "--ratio", 0.5, "--model_path", tmp_path / "models")
    shown = run("evaluate.py", "--pruned_model", tmp_path / "models", "--log_period", 10).stdout
    assert "0.5000" in shown and "top-1" in shown
