"""Train in two processes, of which the second is killed in the fourth step of the first attempt.

For test_restart.py, with the arguments of train_net.py. The agent of torchrun starts the processes
and, once, starts them again; it forks them, as that need not import all anew.
"""

import os
import signal

from detectron2.engine import HookBase
from detectron2.utils import comm
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from scnet.engine import Trainer
from scnet_tools.train_net import main

# As those of torchrun --standalone --nproc-per-node 2 --max-restarts 1
TORCHRUN = LaunchConfig(
    min_nodes=1,
    max_nodes=1,
    nproc_per_node=2,
    max_restarts=1,
    run_id="restarted",
    rdzv_backend="c10d",
    rdzv_endpoint="localhost:0",
    start_method="fork",
)


class Killed(HookBase):
    def before_step(self):
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first and self.trainer.iter == 3 and comm.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


build_hooks = Trainer.build_hooks
Trainer.build_hooks = lambda self: [*build_hooks(self), Killed()]

if __name__ == "__main__":
    elastic_launch(TORCHRUN, main)()
