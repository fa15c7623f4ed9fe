"""What PyTorch computes, counted."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts what PyTorch computes, by name, but for views."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # AdamW keeps the number of steps of each parameter on the CPU.
        if not function.is_view and function is not torch.ops.aten._local_scalar_dense.default:
            self.count[function._schema.name] += 1
        return function(*args, **(kwargs or {}))
