"""Losses that are means over the samples of all processes."""

from typing import Dict, Mapping, Union

import torch
from detectron2.utils import comm
from torch import Tensor

# How many losses can have numbers of samples. All processes exchange that many numbers, also one
# that has failed before it had any.
SLOTS = 32


class Losses(Dict[str, Tensor]):
    """The losses of a process, with the numbers of samples that they are means over.

    Distributed training averages the gradients of the processes, so a sample in a process with few
    of them would weigh more. A sum that is divided by the mean count of all processes gives the
    same gradients as all samples in one process. The authors, like Detectron2, divide by the count
    of each process, and so does who takes the losses as they are.

    Attributes:
        samples: by the name of the loss; a loss without an entry stays as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.samples: Dict[str, Union[int, Tensor]] = {}

    def add(self, name: str, mean: Tensor, samples: Union[int, Tensor]) -> None:
        """Add a loss.

        Args:
            name: of the loss.
            mean: over the samples of this process, a scalar; zero if there are none.
            samples: their number, a scalar if it is a tensor.
        """
        self[name], self.samples[name] = mean, samples

    def include(self, losses: Mapping[str, Tensor]) -> None:
        """Add losses, with the numbers of samples that they have."""
        self.update(losses)
        self.samples.update(getattr(losses, "samples", {}))

    def over_processes(self, device: torch.device) -> Dict[str, Tensor]:
        """Turn means over the samples of this process into shares of those over all samples.

        It takes one exchange of numbers for all losses. Every process has to call this equally
        often; one that has failed does so without losses.

        Args:
            device: of the losses.

        Returns:
            the losses: in a single process as they are, else each times its number of samples, and
            divided by the mean of these numbers over the processes, or 1 if that is less.

        Raises:
            ValueError: there are too many losses with a number of samples.
        """
        if comm.get_world_size() == 1:
            return dict(self)
        if len(self.samples) > SLOTS:
            raise ValueError(f"{len(self.samples)} losses have samples; {SLOTS} can.")
        counts = torch.zeros(SLOTS, device=device)
        for slot, samples in enumerate(self.samples.values()):
            counts[slot] = samples
        means = counts.clone()
        torch.distributed.all_reduce(means)
        shares = counts / (means / comm.get_world_size()).clamp(min=1)
        return {**self, **{name: self[name] * s for name, s in zip(self.samples, shares)}}
