# SPDX-License-Identifier: Apache-2.0
"""A lottery ticket: prune what training left small, rewind the rest, train again. `python examples/lottery_ticket.py`

Beside it, as many weights at random places. Handwritten digits; `pip install ".[cpu,demo]"`; about 30 seconds.

Source: Frankle and Carbin 2019, arXiv:1803.03635.
"""

import numpy as np
import paddle
from sklearn.datasets import load_digits

from paddle_unstructured import Random, UnstructuredPruner, magnitude, test_program

ROUNDS = (0.0, 0.5, 0.75, 0.875, 0.94, 0.97)  # sparsity of each round
EPOCHS, TRAIN = 6, 1440


def lottery(criterion, images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Test accuracy after each round."""
    paddle.seed(1)
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(program, startup):
        image, label = paddle.static.data("image", [None, 64]), paddle.static.data("label", [None, 1], "int64")
        net = paddle.nn.Sequential(paddle.nn.Linear(64, 100), paddle.nn.ReLU(), paddle.nn.Linear(100, 10))
        logits = net(image)
        test, (test_logits,) = test_program(program, [logits])
        loss = paddle.nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(0.05, 0.9).minimize(loss)
    exe = paddle.static.Executor()
    exe.run(startup, scope=scope)
    pruner = UnstructuredPruner(program, ratio=0.0, criterion=criterion, scope=scope)
    early = {param.name: np.array(scope.find_var(param.name).get_tensor()) for param in pruner.params}

    found = []
    for ratio in ROUNDS:
        pruner.ratio = ratio
        pruner.step()  # masks from the trained weights
        for name, value in early.items():  # weights from the early ones
            scope.find_var(name).get_tensor().set(value, paddle.CPUPlace())
        pruner.update_params()
        for epoch in range(EPOCHS):
            for batch in np.array_split(np.random.default_rng(epoch).permutation(TRAIN), TRAIN // 32):
                feed = {"image": images[batch], "label": labels[batch]}
                exe.run(program, feed=feed, fetch_list=[loss], scope=scope)
        (scores,) = exe.run(test, feed={"image": images[TRAIN:]}, fetch_list=[test_logits], scope=scope)
        found.append(float((scores.argmax(1) == labels[TRAIN:, 0]).mean()))
    return found


def main() -> None:
    paddle.enable_static()
    digits = load_digits()
    images, labels = (digits.data / 16).astype("float32"), digits.target[:, None].astype("int64")
    print("sparsity  ticket  random")
    for row in zip(ROUNDS, lottery(magnitude, images, labels), lottery(Random(), images, labels)):
        print("{:8.3f}  {:6.4f}  {:6.4f}".format(*row))


if __name__ == "__main__":
    main()
