# SPDX-License-Identifier: Apache-2.0
"""Your own CNN, 90 % pruned: train, prune gradually, test, save, export. `python examples/own_cnn.py`

Real handwritten digits, 8x8 pixels, from scikit-learn (`pip install ".[cpu,demo]"`); about ten seconds.
"""

import numpy as np
import paddle
from sklearn.datasets import load_digits

from paddle_unstructured import Polynomial, UnstructuredPruner, sparsity_report
from paddle_unstructured.export import export

EPOCHS, BATCH = 12, 32


def logits_of(image: paddle.pir.Value) -> paddle.pir.Value:
    net = paddle.nn.Sequential(
        *(paddle.nn.Conv2D(1, 16, 3, padding=1, bias_attr=False), paddle.nn.BatchNorm2D(16), paddle.nn.ReLU()),
        *(paddle.nn.Conv2D(16, 32, 3, 2, 1, bias_attr=False), paddle.nn.BatchNorm2D(32), paddle.nn.ReLU()),
        *(paddle.nn.Flatten(), paddle.nn.Linear(512, 64), paddle.nn.ReLU(), paddle.nn.Linear(64, 10)),
    )
    return net(image)


def main() -> None:
    paddle.enable_static()
    paddle.seed(0)
    digits = load_digits()
    images, labels = (digits.images[:, None] / 16).astype("float32"), digits.target[:, None].astype("int64")
    train, test = np.arange(1440), np.arange(1440, 1797)

    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        image, label = paddle.static.data("image", [None, 1, 8, 8]), paddle.static.data("label", [None, 1], "int64")
        logits = logits_of(image)
        loss = paddle.nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(0.05, 0.9, weight_decay=5e-4).minimize(loss)
    exe = paddle.static.Executor()
    exe.run(startup)

    steps = EPOCHS * (len(train) // BATCH)  # dense for a sixth of them, then up to 90 %, and a third to recover
    ramp = Polynomial(final=0.9, begin_step=steps // 6, end_step=2 * steps // 3, updates=20)
    pruner = UnstructuredPruner(program, schedule=ramp)
    for epoch in range(EPOCHS):
        for batch in np.array_split(np.random.default_rng(epoch).permutation(train), len(train) // BATCH):
            exe.run(program, feed={"image": images[batch], "label": labels[batch]}, fetch_list=[loss])
            pruner.step()
        print(f"epoch {epoch}: sparsity {pruner.sparsity():.4f}")

    print(sparsity_report(program, pruner=pruner))
    pruner.save("own_cnn.pruner")  # to go on later: pruner.load("own_cnn.pruner")
    export(program, [image], [logits], "own_cnn", pruner, exe)
    net, _, (answers,) = paddle.static.load_inference_model("own_cnn", exe)
    (scores,) = exe.run(net, feed={"image": images[test]}, fetch_list=[answers])
    print(f"test accuracy {(scores.argmax(1) == labels[test, 0]).mean():.4f}")


if __name__ == "__main__":
    main()
