# SPDX-License-Identifier: Apache-2.0
"""From a dense net to sparse int8 on x86. `python examples/int8_deployment.py`

Prune in the blocks that the int8 kernels leave out, export, convert with calibration data, and run without Paddle.
Handwritten digits; `pip install ".[cpu,demo]"`; about 30 seconds, and a minute more once, if kernels must be compiled.
"""

import numpy as np
import paddle
from sklearn.datasets import load_digits

from paddle_unstructured import Int8Block, Recipe
from paddle_unstructured.export import export
from paddle_unstructured.runtime import Int8, Session, benchmark, convert

TRAIN, BATCH, EPOCHS = 1440, 32, 10
STEPS = EPOCHS * TRAIN // BATCH


def main() -> None:
    paddle.enable_static()
    paddle.seed(0)
    digits = load_digits()
    images, labels = (digits.images[:, None] / 16).astype("float32"), digits.target[:, None].astype("int64")

    recipe = Recipe(ratio=0.75, steps=STEPS, pattern=Int8Block())
    rate = paddle.optimizer.lr.LambdaDecay(0.05, lambda step: recipe.rate(step % STEPS))  # twice: dense, then sparse
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        image, label = paddle.static.data("image", [None, 1, 8, 8]), paddle.static.data("label", [None, 1], "int64")
        net = paddle.nn.Sequential(
            *(paddle.nn.Conv2D(1, 32, 3, padding=1, bias_attr=False), paddle.nn.BatchNorm2D(32), paddle.nn.ReLU()),
            *(paddle.nn.Conv2D(32, 64, 3, padding=1, bias_attr=False), paddle.nn.BatchNorm2D(64), paddle.nn.ReLU()),
            *(paddle.nn.Conv2D(64, 64, 3, 2, 1, bias_attr=False), paddle.nn.BatchNorm2D(64), paddle.nn.ReLU()),
            *(paddle.nn.Flatten(), paddle.nn.Linear(1024, 10)),
        )
        logits = net(image)
        loss = paddle.nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(rate, 0.9, weight_decay=5e-4).minimize(loss)
    exe = paddle.static.Executor()
    exe.run(startup)

    def train(after_each_step) -> None:
        for epoch in range(EPOCHS):
            for batch in np.array_split(np.random.default_rng(epoch).permutation(TRAIN), TRAIN // BATCH):
                exe.run(program, feed={"image": images[batch], "label": labels[batch]}, fetch_list=[loss])
                rate.step()
                after_each_step()

    train(lambda: None)
    export(program, [image], [logits], "dense", exe=exe)
    pruner = recipe.pruner(program)
    train(pruner.step)
    export(program, [image], [logits], "sparse", pruner, exe)

    np.save("calibration.npy", images[:256])  # of the training data
    print(convert("sparse", "int8", int8=Int8("calibration.npy")))
    convert("dense", "dense_fast")
    for name, model in (("dense, float32", "dense_fast"), ("sparse, int8", "int8")):
        (scores,) = Session(model).run(images[TRAIN:])
        print(f"{name:<16}test accuracy {(scores.argmax(1) == labels[TRAIN:, 0]).mean():.4f}")
    print(benchmark("dense", "int8", data=images[TRAIN:]))


if __name__ == "__main__":
    main()
