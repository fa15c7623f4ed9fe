"""Loading training batches that follow from the seed and their number alone."""

from collections import defaultdict
from itertools import islice
from typing import Callable, DefaultDict, Dict, Hashable, Iterable, Iterator, List, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_train_loader
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Dataset

from ..seeding import SAMPLE, seed_for
from .workers import outlive_signals


class TrainLoader:
    """Loads training data as Detectron2 does, in a stream that can be entered at any batch.

    The images come in the order of Detectron2's sampler (``DATALOADER.SAMPLER_TRAIN``), grouped
    by aspect ratio if ``DATALOADER.ASPECT_RATIO_GROUPING`` says so. Each is augmented with random
    numbers of its own. So batch k is the same whether or not the run was interrupted before it,
    and however many workers load it (``DATALOADER.NUM_WORKERS``).

    Attributes:
        seed: of the stream.
        first: the number of the batch that iteration starts with.
    """

    def __init__(self, cfg: CfgNode, mapper: Callable[[Dict], Dict], batch_size: int):
        """Read the data sets.

        Args:
            cfg: names the data sets and the sampler.
            mapper: makes the model's input from a dict of Detectron2's format.
            batch_size: images per batch of this process.
        """
        self.cfg = cfg
        self.mapper = mapper
        self.batch_size = batch_size
        self.seed = 0
        self.first = 0
        parts = build_detection_train_loader.from_config(cfg, mapper=mapper, sampler=())
        # Images of one kind may share a batch.
        grouping = cfg.DATALOADER.ASPECT_RATIO_GROUPING
        self.kinds = [grouping and x["width"] > x["height"] for x in parts["dataset"]]
        # Packed: the processes that load data would copy a list of dicts, bit by bit.
        self.records = DatasetFromList(parts["dataset"], copy=False)

    def __iter__(self) -> Iterator[List[Dict]]:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.SEED = self.seed
        seed_all_rng(self.seed)  # most of Detectron2's samplers draw a seed of their own
        sampler = build_detection_train_loader.from_config(
            cfg, mapper=self.mapper, dataset=self.records
        )["sampler"]
        batches = group(number_globally(sampler), self.batch_size, self.kinds)
        return iter(
            DataLoader(
                _SeededSamples(self.records, self.mapper, self.seed),
                batch_sampler=islice(batches, self.first, None),
                num_workers=cfg.DATALOADER.NUM_WORKERS,
                collate_fn=trivial_batch_collator,
                worker_init_fn=outlive_signals,
                pin_memory=cfg.DATALOADER.PIN_MEMORY and cfg.MODEL.DEVICE.startswith("cuda"),
            )
        )


def number_globally(indices: Iterable[int]) -> Iterator[Tuple[int, int]]:
    """Number the samples of this process within the stream that all processes share.

    Yields:
        the number and the index of each sample.
    """
    rank, processes = comm.get_rank(), comm.get_world_size()
    for k, index in enumerate(indices):
        yield k * processes + rank, index


def group(
    samples: Iterable[Tuple[int, int]], size: int, kinds: Sequence[Hashable]
) -> Iterator[List[Tuple[int, int]]]:
    """Make batches of samples of one kind, in the order in which they fill up.

    Args:
        samples: number and index of each.
        size: of a batch.
        kinds: the kind of the sample with each index.
    """
    waiting: DefaultDict[Hashable, List[Tuple[int, int]]] = defaultdict(list)
    for sample in samples:
        batch = waiting[kinds[sample[1]]]
        batch.append(sample)
        if len(batch) == size:
            yield list(batch)
            batch.clear()


class _SeededSamples(Dataset):
    """Holds, for (number, index), what the mapper makes of a record with the seed of the number."""

    def __init__(self, records: DatasetFromList, mapper: Callable[[Dict], Dict], seed: int):
        self.records = records
        self.mapper = mapper
        self.seed = seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, sample: Tuple[int, int]) -> Dict:
        number, index = sample
        seed_for(self.seed, SAMPLE, number)
        return self.mapper(self.records[index])
