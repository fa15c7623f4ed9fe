"""train_net.py, but the second process is killed in the fourth step of the first attempt.

For test_restart.py: torchrun --max-restarts 1 starts both processes again.
"""

import os
import signal

from detectron2.engine import HookBase
from detectron2.utils import comm

from scnet.engine import Trainer
from scnet_tools.train_net import main

FIRST = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"


class Killed(HookBase):
    def before_step(self):
        if FIRST and self.trainer.iter == 3 and comm.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


build_hooks = Trainer.build_hooks
Trainer.build_hooks = lambda self: [*build_hooks(self), Killed()]

if __name__ == "__main__":
    main()
