# SPDX-License-Identifier: Apache-2.0
"""Two ranks with half a batch each train what one rank trains with the whole; what differs is noticed and mended."""

from __future__ import annotations

import json
import sys

import numpy as np
import paddle
import pytest
from jobs import WORKERS, launch

from paddle_unstructured import distributed
from paddle_unstructured.distributed import ranks as launched
from paddle_unstructured.distributed.checksum import FACTOR, checksum, places

sys.path.insert(0, str(WORKERS))
from cases import CASES, Training, momentum, ratio, train, unclipped  # noqa: E402

pytestmark = pytest.mark.usefixtures("static")
CPU = {"PADDLE_TRAINERS_NUM": "2", "PADDLE_DISTRI_BACKEND": "gloo"}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks have found: [(arrays, report) of rank 0, of rank 1]."""
    folder = tmp_path_factory.mktemp("ranks")
    with launch(WORKERS / "train_on_ranks.py", folder, folder=folder) as job:
        job.succeed(90)
    return [
        (dict(np.load(folder / f"rank_{rank}.npz")), json.loads((folder / f"rank_{rank}.json").read_text()))
        for rank in (0, 1)
    ]


def of(arrays, case):
    return {name[len(case) + 1 :]: value for name, value in arrays.items() if name.startswith(case + "/")}


# -- two ranks are one


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_with_half_batches_give_the_weights_and_masks_of_one_with_whole_batches(ranks, case):
    alone, together = train(case), of(ranks[0][0], case)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        if name.endswith("_mask"):
            assert np.array_equal(value, together[name]), name
        else:
            np.testing.assert_allclose(together[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_masks_of_two_ranks_prune_something_and_not_all(ranks, case):
    masks = [value for name, value in of(ranks[0][0], case).items() if name.endswith("_mask")]
    assert len(masks) == 3 and 0.4 < 1 - sum(mask.sum() for mask in masks) / (72 + 96 + 24) < 0.8


@pytest.mark.parametrize("case", CASES)
def test_both_ranks_end_in_the_same_bits(ranks, case):
    first, second = of(ranks[0][0], case), of(ranks[1][0], case)
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


def test_without_averaging_the_weights_are_others(ranks):
    alone, together = train("lamp"), of(ranks[0][0], "control")
    assert max(np.abs(alone[name] - together[name]).max() for name in alone if name.endswith("w_0")) > 1e-3


def test_ranks_that_start_with_other_weights_take_those_of_rank_0(ranks):
    wanted = of(ranks[0][0], "ratio")
    for arrays, _ in ranks:
        found = of(arrays, "seeds")
        assert [name for name in wanted if not np.array_equal(wanted[name], found[name])] == []


def test_clipping_is_at_work_so_that_it_is_seen_to_act_on_the_average():
    clipped = train("lamp")
    free = train("lamp", minimize=lambda _, loss: distributed.minimize(unclipped(), loss))
    assert np.abs(clipped["linear_0.w_0"] - free["linear_0.w_0"]).max() > 1e-2


def test_running_statistics_are_averaged_and_not_compared(ranks):
    found = [of(arrays, "norm") for arrays, _ in ranks]
    names = [name[6:] for name in found[0] if name.startswith("after ")]
    assert len(names) == 2 and all(norm["same"] for norm in found)
    for name in names:
        before = [norm["before " + name] for norm in found]
        assert np.abs(before[0] - before[1]).max() > 1e-3
        assert np.array_equal(found[0]["after " + name], found[1]["after " + name])
        np.testing.assert_allclose(found[0]["after " + name], (before[0] + before[1]) / 2, rtol=1e-6)


# -- what differs is noticed


@pytest.mark.parametrize(
    "what, name", [("weight", "linear_1.w_0"), ("optimizer", "linear_0.w_0_velocity_0"), ("mask", "linear_2.w_0")]
)
def test_one_bit_on_one_rank_is_named_at_the_next_mask_update_and_mended(ranks, what, name):
    for _, report in ranks:
        warning, after = report[what]
        assert warning.startswith(f"WARNING {name}") and "after step 2" in warning and "rank 0's" in warning
        assert after == "same True"


def test_ranks_that_agree_are_not_warned(ranks):
    assert [report["undisturbed"] for _, report in ranks] == [["same True"]] * 2


def test_another_program_on_another_rank_is_refused_by_name(ranks):
    message = ranks[1][1]["other"]
    assert message.startswith("ValueError: rank 1 has another Program than rank 0") and "batch_norm1d_0.b_0" in message


def test_minimize_before_init_says_what_is_missing(ranks):
    assert all(report["early"].startswith("ValueError") and "init()" in report["early"] for _, report in ranks)


# -- between the ranks


def test_ranks_know_who_they_are_and_fleet_agrees(ranks):
    assert [(r["rank"], r["world"], r["fleet"]) for _, r in ranks] == [(0, 2, 0), (1, 2, 1)]


def test_numbers_are_added_up_and_rank_0s_words_are_shared(ranks):
    for _, report in ranks:
        assert report["total"] == [1.5, 2e16] and report["number"] == 4.0
        assert report["shared"] == {"rank": 0, "long": "x" * 300}


# -- one process without a launcher


def test_one_rank_trains_the_bits_of_the_optimizers_own_minimize():
    ours = train("gmp")
    plain = train("gmp", minimize=lambda optimizer, loss: optimizer.minimize(loss))
    assert [name for name in ours if not np.array_equal(ours[name], plain[name])] == []


def test_one_rank_has_every_function(caplog):
    distributed.init()
    training = Training(momentum, ratio)
    distributed.broadcast_state(training.main, pruner=training.pruner)
    training.train(2)
    distributed.average_statistics(training.main)
    assert distributed.same_everywhere(training.main)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("paddle_unstructured")] == []
    assert (distributed.rank(), distributed.world_size(), distributed.is_joined()) == (0, 1, False)
    assert distributed.total([1.0, 2.0]).tolist() == [1.0, 2.0] and distributed.share("word") == "word"


def test_variables_without_values_are_refused_by_name():
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        distributed.minimize(paddle.optimizer.Momentum(0.1), paddle.nn.Linear(2, 2)(paddle.ones([1, 2])).mean())
    with pytest.raises(ValueError, match="5 of 5 variables .* run the startup"):
        distributed.broadcast_state(main)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_senseless_timeout_is_refused(timeout):
    with pytest.raises(ValueError, match="`timeout` must be a number of seconds > 0, or None"):
        distributed.init(timeout)


@pytest.mark.parametrize("arguments, error", [((None, None), TypeError), ((object(), 3), TypeError)])
def test_minimize_refuses_what_is_no_optimizer(arguments, error):
    with pytest.raises(error, match="`optimizer` must be one of paddle.optimizer"):
        distributed.minimize(*arguments)


def test_minimize_refuses_what_is_no_loss_of_a_program():
    with pytest.raises(TypeError, match="`loss` must be a value of a static Program, got float"):
        distributed.minimize(paddle.optimizer.SGD(), 0.5)


def test_minimize_refuses_dynamic_mode():
    paddle.disable_static()
    with pytest.raises(ValueError, match="enable_static"):
        distributed.minimize(paddle.optimizer.SGD(parameters=[paddle.ones([1])]), paddle.ones([1]))
    paddle.enable_static()


def test_devices_that_paddle_is_not_built_for_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="env -u CUDA_VISIBLE_DEVICES .* without --devices"):
        launched.check_environment({"PADDLE_TRAINERS_NUM": "2"})


def test_the_flag_that_orders_sums_must_be_on():
    paddle.set_flags({launched.DEPENDENCY: False})
    try:
        with pytest.raises(ValueError, match="FLAGS_add_dependency_for_communication_op must be true"):
            launched.check_environment(CPU)
    finally:
        paddle.set_flags({launched.DEPENDENCY: True})
    assert launched.check_environment(CPU) == 2 and launched.check_environment({}) == 1


# -- checksums


def eager(array):
    with paddle.base.dygraph.guard():
        return paddle.to_tensor(array)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8"])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 1001, 65536, 300_000])
def test_a_checksum_is_the_sum_of_words_times_their_places(dtype, size):
    array = np.random.default_rng(size).normal(size=size, scale=50).astype(dtype)
    width = min(array.itemsize, 4)
    words, wanted, coefficients = array.view(f"int{8 * width}").tolist(), 0, places().tolist()
    for start in range(0, len(words), 65536):
        part = sum(word * place for word, place in zip(words[start : start + 65536], coefficients))
        wanted = (wanted * FACTOR + part) % 2**64
    assert checksum(eager(array)) == wanted


def test_a_checksum_sees_one_bit_anywhere_and_an_exchange_of_places():
    array = np.random.default_rng(0).normal(size=(500, 300)).astype("float32")
    known = {checksum(eager(array))}
    for place in (0, 1, 65_535, 149_999):
        changed = array.copy()
        changed.reshape(-1).view("int32")[place] ^= 1
        known.add(checksum(eager(changed)))
        swapped = array.copy().reshape(-1)
        swapped[[place, 70_000]] = swapped[[70_000, place]]
        known.add(checksum(eager(swapped)))
    assert len(known) == 9


def test_an_empty_tensor_has_a_checksum():
    assert checksum(eager(np.zeros([0, 3], "float32"))) == 0
