# SPDX-License-Identifier: Apache-2.0
"""One Program, or nn.Layer, on many ranks: gradients averaged, state and masks the same everywhere.

from paddle_unstructured import distributed

distributed.init()                                    # first of all
...                                                   # build the Program
distributed.minimize(optimizer, loss)                 # instead of optimizer.minimize(loss)
exe.run(startup_program)
pruner = UnstructuredPruner(main_program, ratio=0.9)
distributed.broadcast_state(main_program)             # rank 0's weights
for batch in loader:                                  # with paddle.io.DistributedBatchSampler
    exe.run(main_program, feed=batch, fetch_list=[loss])
    pruner.step()
distributed.average_statistics(main_program)          # of BatchNorm
if distributed.rank() == 0:
    paddle.static.save(main_program, "model")
"""

from .collectives import average, share, total
from .communicator import init
from .gradients import minimize
from .ranks import device_id, is_joined, rank, world_size
from .state import average_statistics, broadcast_state, same_everywhere, synchronize
from .watch import progress

__all__ = [
    "average",
    "average_statistics",
    "broadcast_state",
    "device_id",
    "init",
    "is_joined",
    "minimize",
    "progress",
    "rank",
    "same_everywhere",
    "share",
    "synchronize",
    "total",
    "world_size",
]
