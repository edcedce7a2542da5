# SPDX-License-Identifier: Apache-2.0
"""How much each layer can lose, and sparsities from it. `python examples/sensitivity_per_layer.py`

Each layer is pruned alone and tested; layers that cost little get a high sparsity, so that 80 % of all weights fall at
one common cost. Beside it: the same sparsity for every layer. Handwritten digits; `pip install ".[cpu,demo]"`; 20 s.
"""

import numpy as np
import paddle
from sklearn.datasets import load_digits

from paddle_unstructured import PerLayer, Uniform, UnstructuredPruner, test_program
from paddle_unstructured.sensitivity import allocate_by_sensitivity, sensitivity

TRAIN, TARGET = 1440, 0.8


def main() -> None:
    paddle.enable_static()
    paddle.seed(0)
    digits = load_digits()
    images, labels = (digits.images[:, None] / 16).astype("float32"), digits.target[:, None].astype("int64")
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup):
        image, label = paddle.static.data("image", [None, 1, 8, 8]), paddle.static.data("label", [None, 1], "int64")
        net = paddle.nn.Sequential(
            *(paddle.nn.Conv2D(1, 8, 3, padding=1), paddle.nn.ReLU(), paddle.nn.Conv2D(8, 16, 3, 2), paddle.nn.ReLU()),
            *(paddle.nn.Flatten(), paddle.nn.Linear(144, 64), paddle.nn.ReLU(), paddle.nn.Linear(64, 10)),
        )
        logits = net(image)
        test, (test_logits,) = test_program(program, [logits])
        loss = paddle.nn.functional.cross_entropy(logits, label)
        paddle.optimizer.Momentum(0.05, 0.9).minimize(loss)
    exe = paddle.static.Executor()
    exe.run(startup)
    for epoch in range(10):
        for batch in np.array_split(np.random.default_rng(epoch).permutation(TRAIN), TRAIN // 32):
            exe.run(program, feed={"image": images[batch], "label": labels[batch]}, fetch_list=[loss])

    def accuracy(scope=None) -> float:
        (scores,) = exe.run(test, feed={"image": images[TRAIN:]}, fetch_list=[test_logits], scope=scope)
        return float((scores.argmax(1) == labels[TRAIN:, 0]).mean())

    def pruned_at_once(**asked) -> float:
        """Accuracy of the trained weights in a scope of their own, pruned without further training."""
        scope = paddle.static.Scope()
        for param in test.global_block().all_parameters():
            value = np.array(paddle.static.global_scope().find_var(param.name).get_tensor())
            scope.var(param.name).get_tensor().set(value, paddle.CPUPlace())
        UnstructuredPruner(test.clone(), scope=scope, **asked).step()
        return accuracy(scope)

    dense = accuracy()
    table = sensitivity(test, accuracy, sparsities=[0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
    sparsities = allocate_by_sensitivity(table, target=TARGET)
    print(table)
    print("chosen:", {name: round(sparsity, 4) for name, sparsity in sparsities.items()})

    print(f"dense                              {dense:.4f}")
    print(f"{TARGET:.0%} at once, every layer the same  {pruned_at_once(ratio=TARGET, allocation=Uniform()):.4f}")
    print(f"{TARGET:.0%} at once, by sensitivity        {pruned_at_once(allocation=PerLayer(sparsities)):.4f}")


if __name__ == "__main__":
    main()
