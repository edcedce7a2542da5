# SPDX-License-Identifier: Apache-2.0
"""train.py on two ranks as a user starts it: like one rank, resumed, killed, hung, restarted, on two nodes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from commands import DEMO, GMP, ROOT, TINY, assert_same, environment, history, run, variables
from jobs import Job, launch

HALF = tuple(64 if flag == "128" else flag for flag in TINY)  # each of two ranks takes half a batch
FLAGS = (*HALF, *GMP)
LONG = (*HALF, "--pruning_strategy", "gmp", "--num_epochs", 500, "--model_period", 500)


def train(folder, *flags, **how) -> Job:
    return launch(DEMO / "train.py", "--is_distributed", "True", *flags, folder=folder, **how)


def script(name, folder, *flags, **how) -> Job:
    return Job(["bash", ROOT / "scripts" / name, *flags], folder, RUNS=str(folder), **how)


@pytest.fixture(scope="module")
def two(dense, tmp_path_factory):
    """The run of the fixture `gmp`, by two ranks."""
    folder = tmp_path_factory.mktemp("two")
    with train(folder, *FLAGS, "--pretrained_model", dense, "--model_path", folder / "run") as job:
        job.succeed(60)
    return folder / "run"


def test_two_ranks_train_what_one_rank_trains_with_batches_twice_as_large(two, gmp):
    assert_alike(two, gmp)
    for ours, theirs in zip(history(two, 5), history(gmp, 5)):
        assert ours == pytest.approx(theirs, abs=1e-4) and ours["test_images"] == 360


def assert_alike(many, one):
    """The same masks, and weights that differ by rounding, after 66 steps."""
    alone, together = variables(one / "epoch_5"), variables(many / "epoch_5")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        if name.endswith("_mask"):
            assert (value == together[name]).all(), name
        else:
            assert abs(value - together[name]).max() < 1e-6, name


@pytest.mark.slow
def test_eight_ranks_train_what_one_rank_trains_with_batches_eight_times_as_large(dense, gmp, tmp_path):
    flags = (*FLAGS, "--batch_size", 16, "--pretrained_model", dense, "--model_path", tmp_path / "run")
    with train(tmp_path, *flags, options=("--nproc_per_node", 8)) as job:
        job.succeed(180)
    assert_alike(tmp_path / "run", gmp)


def test_what_two_ranks_saved_can_be_tested_and_exported(two):
    assert "of 360 images" in run("evaluate.py", "--pruned_model", two).stdout
    assert (two / "inference" / "model.pdiparams").is_file()


@pytest.mark.slow
def test_a_run_of_two_ranks_resumes_to_the_same_bits(two, tmp_path):
    with train(tmp_path, "--checkpoint", two, "--last_epoch", 2, "--model_path", tmp_path / "run") as job:
        job.succeed(60)
    assert_same(two / "epoch_5", tmp_path / "run" / "epoch_5")
    assert history(two, 5) == history(tmp_path / "run", 5)


@pytest.mark.slow
def test_one_rank_under_the_launcher_trains_the_bits_of_a_process_of_its_own(dense, gmp, tmp_path):
    flags = (*TINY, *GMP, "--pretrained_model", dense, "--model_path", tmp_path / "run")
    with train(tmp_path, *flags, options=("--nproc_per_node", 1)) as job:
        job.succeed(60)
    assert_same(gmp / "epoch_5", tmp_path / "run" / "epoch_5")


# -- refused


@pytest.mark.slow
def test_a_checkpoint_that_rank_0_cannot_read_ends_all_ranks_with_its_message(tmp_path):
    (tmp_path / "run").mkdir()
    with train(tmp_path, *FLAGS, "--checkpoint", tmp_path / "run") as job:
        assert job.wait(60) != 0
        time.sleep(0.5)
        assert "must hold the checkpoints of a run" in job.log(0) and "Traceback" not in job.logs()


# -- faults


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_job_within_ten_seconds_by_a_line_that_names_it_and_the_step(tmp_path, rank):
    with train(tmp_path, *LONG, "--model_path", tmp_path / "run") as job:
        killed = wait_for_epoch(job, 3, rank)
        time.sleep(3)  # a rank says every second how far it is
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        assert job.wait(20) != 0 and time.monotonic() - began < 10
        (line,) = [line for line in job.log(1 - rank).splitlines() if "ends after step" in line]
        assert f"rank {1 - rank} of 2 ends after step " in line
        assert f"rank {rank} (process {killed} on {socket.gethostname()}) is dead, last seen at step " in line
        mine, last_seen = map(int, re.findall(r" step (\d+)", line))
        assert mine >= last_seen > 0, line
        assert job.pids() == []


def test_a_rank_that_hangs_is_ended_by_the_watchdog(tmp_path):
    flags = (*LONG, "--rank_timeout", 4, "--model_path", tmp_path / "run")
    with train(tmp_path, *flags) as job:
        os.kill(wait_for_epoch(job, 3, rank=1), signal.SIGSTOP)
        began = time.monotonic()
        assert job.wait(30) != 0 and time.monotonic() - began < 4 + 10
        (line,) = [line for line in job.log(0).splitlines() if "ends after step" in line]
        assert "the timeout is 4 s" in line and "is stopped, last seen at step" in line
        assert "line" in job.log(0).split("ends after step")[1]  # the place where it waits


@pytest.mark.slow
def test_ranks_whose_launcher_is_killed_end_too(tmp_path):
    with train(tmp_path, *LONG, "--model_path", tmp_path / "run") as job:
        wait_for_epoch(job, 3, rank=0)
        job.process.kill()
        until = time.monotonic() + 10
        while job.pids() and time.monotonic() < until:
            time.sleep(0.1)
        assert job.pids() == []
        assert "the launcher is gone" in job.logs()


def wait_for_epoch(job: Job, epoch: int, rank: int) -> int:
    """Wait until training is under way; the process of a rank."""
    until = time.monotonic() + 60
    while f"epoch {epoch} " not in job.log(0):
        assert job.process.poll() is None and time.monotonic() < until, job.output() + job.logs()
        time.sleep(0.01)
    return job.pid(rank)


@pytest.mark.slow  # five starts of two ranks
def test_a_run_whose_ranks_are_killed_in_turn_is_restarted_to_the_same_bits(dense, two, tmp_path):
    flags = (*FLAGS, "--pretrained_model", dense)
    with script("train_resilient.sh", tmp_path, 3, 2, tmp_path / "run", *flags) as job:
        for epoch, rank in ((1, 0), (3, 1)):
            job.wait_for(tmp_path / "run" / f"epoch_{epoch}")
            os.kill(job.pid(rank), signal.SIGKILL)
            wait_for_line(job, "ended with exit code", epoch // 2 + 1)
        output = job.succeed(60)
    assert_same(two / "epoch_5", tmp_path / "run" / "epoch_5")
    assert history(two, 5) == history(tmp_path / "run", 5)
    assert "attempt 1 of 4 ended" in output and "rank 1 of 2 ends after step" in output


def wait_for_line(job: Job, words: str, count: int) -> None:
    until = time.monotonic() + 30
    while job.output().count(words) < count:
        assert job.process.poll() is None and time.monotonic() < until, job.output()
        time.sleep(0.01)


@pytest.mark.slow
def test_restarts_have_an_end(tmp_path):
    flags = (*FLAGS, "--pretrained_model", tmp_path)  # which holds no weights
    with script("train_resilient.sh", tmp_path, 1, 2, tmp_path / "run", *flags) as job:
        assert job.wait(60) not in (0, None)
        assert "attempt 2 of 2 ended" in job.output() and "attempt 3" not in job.output()


@pytest.mark.parametrize("name", ["train_distributed.sh", "train_resilient.sh"])
def test_scripts_without_arguments_say_how_they_are_used(name, tmp_path):
    done = subprocess.run(["bash", str(ROOT / "scripts" / name)], env=environment(), capture_output=True, text=True)
    assert done.returncode != 0 and "usage: bash" in done.stderr


@pytest.mark.slow
def test_an_empty_list_of_gpus_does_not_stop_the_script(dense, tmp_path):
    flags = (*FLAGS, "--num_epochs", 1, "--pretrained_model", dense, "--model_path", tmp_path / "run")
    with script("train_distributed.sh", tmp_path, 2, *flags, CUDA_VISIBLE_DEVICES="") as job:
        job.succeed(60)
    assert (tmp_path / "run" / "inference").is_dir()


# -- machines


@pytest.mark.slow
def test_two_nodes_with_a_rank_each_give_the_bits_of_one_node_with_two(dense, two, tmp_path):
    flags = (*FLAGS, "--pretrained_model", dense, "--model_path", tmp_path / "run")
    nodes = f"--master 127.0.0.1:{free_port()} --nnodes 2 --host 127.0.0.1"
    with (
        script("train_distributed.sh", tmp_path / "a", 1, *flags, LAUNCH=nodes) as first,
        script("train_distributed.sh", tmp_path / "b", 1, *flags, LAUNCH=nodes) as second,
    ):
        first.succeed(90)
        second.succeed(30)
    assert_same(two / "epoch_5", tmp_path / "run" / "epoch_5")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ss"), reason="`ss` lists what listens")
def test_nothing_listens_but_paddles_own_store(tmp_path):
    with train(tmp_path, *LONG, "--model_path", tmp_path / "run") as job:
        pids = [job.pid(0), job.pid(1)]
        wait_for_epoch(job, 3, rank=0)
        listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
        ours = [line for line in listening if any(f"pid={pid}," in line for pid in job.pids())]
        with open(f"/proc/{pids[0]}/environ", encoding="utf-8") as file:
            store = dict(pair.split("=", 1) for pair in file.read().split("\0") if "=" in pair)["PADDLE_MASTER"]
    assert len(ours) == 1 and f":{store.rsplit(':', 1)[1]} " in ours[0] and f"pid={pids[0]}," in ours[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
