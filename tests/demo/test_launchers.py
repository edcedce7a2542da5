# SPDX-License-Identifier: Apache-2.0
"""The launchers in scripts/, a few steps on generated images."""

import subprocess
import sys

import pytest
from commands import DEMO, ROOT, environment

SIZES = ["--width", 0.25, "--batch_size", 8, "--batch_size_for_validation", 8]
SHORT = [*SIZES, "--num_epochs", 2, "--pruning_steps", 2, "--num_workers", 2]
LAUNCHERS = sorted(
    file.name for file in (ROOT / "scripts").glob("train_*.sh") if "train_mobilenet " in file.read_text()
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    flags = [str(folder), "--train", "16", "--test", "8"]
    subprocess.run([sys.executable, str(DEMO / "make_fake_imagenet.py"), *flags], check=True)
    return folder


PUBLISHED = {"train_yolov3_voc_threshold.sh": "voc", "train_picodet_coco_gmp75.sh": "coco"}
PUBLISHED |= {"train_humanseg_gmp75.sh": "masks", "train_humanseg_2x1.sh": "masks"}


def launch(script: str, *flags, cwd, runs) -> subprocess.CompletedProcess:
    line = ["bash", str(ROOT / "scripts" / script), *map(str, flags)]
    return subprocess.run(line, cwd=cwd, env={**environment(), "RUNS": str(runs)}, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("script", LAUNCHERS)
def test_launcher_trains_and_its_run_can_be_tested(script, images, tmp_path):
    done = launch(script, images, *SHORT, cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = tmp_path.glob("mobilenet_*")
    done = launch("evaluate.sh", saved / "inference", cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 0 and "of 8 images" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("script", PUBLISHED)
def test_launchers_of_boxes_and_masks_train_on_files_in_their_formats(script, tmp_path):
    flags = [tmp_path / "data", "--format", PUBLISHED[script], "--train", 16, "--test", 8, "--size", 64]
    subprocess.run([sys.executable, str(DEMO / "make_scenes.py"), *map(str, flags)], check=True, env=environment())
    short = [*SIZES, "--num_epochs", 2, "--image_size", 64, "--num_workers", 0]
    short += ["--pruning_epochs", 1, "--tunning_epochs", 1, "--pruning_steps", 2] if "threshold" not in script else []
    done = launch(script, tmp_path / "data", *short, cwd=tmp_path, runs=tmp_path / "runs")
    assert done.returncode == 0, done.stdout + done.stderr
    (saved,) = (tmp_path / "runs").glob("*")
    done = launch("evaluate.sh", saved / "inference", cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 0 and "of 8 images" in done.stdout, done.stdout + done.stderr


def test_resume_continues_a_run(images, tmp_path):
    done = launch("train_ratio.sh", images, *SHORT, "--model_period", 1, cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = launch("resume.sh", tmp_path / "mobilenet_ratio", "--num_epochs", 3, cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 0 and "after epoch 1" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "mobilenet_ratio" / "epoch_2").is_dir()


@pytest.mark.parametrize("script", [*LAUNCHERS, *PUBLISHED, "resume.sh", "evaluate.sh"])
def test_launcher_without_its_folder_says_how_it_is_used(script, tmp_path):
    done = launch(script, cwd=tmp_path, runs=tmp_path)
    assert done.returncode != 0 and "usage: bash" in done.stderr


@pytest.mark.parametrize("script", ["train_to_fast.sh", "dense_to_int8.sh"])
def test_a_launcher_that_is_given_a_flag_it_has_not_says_how_it_is_used_and_deletes_no_run(script, tmp_path):
    run = tmp_path / script.removesuffix(".sh")
    run.mkdir()
    done = launch(script, "--fast", cwd=tmp_path, runs=tmp_path)
    assert done.returncode == 2 and "usage: bash" in done.stderr and "[FASHION_MNIST_DIR]" in done.stderr
    assert run.is_dir()
