"""Loading training batches that follow from the seed and their number alone."""

import copy
from collections import defaultdict
from itertools import chain, islice
from typing import (
    Any,
    Callable,
    DefaultDict,
    Dict,
    Hashable,
    Iterable,
    Iterator,
    List,
    Sequence,
    Tuple,
)

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Dataset

from ..seeding import SAMPLE, seed_for
from .broken_images import UNUSABLE, BrokenImageError, most_to_skip, skips_broken_images
from .copy_paste import CopyPaste
from .datasets.loading import load_once_per_machine
from .once_per_machine import PackedList, once_per_machine
from .training_records import training_records
from .workers import outlive_signals


class TrainLoader:
    """Loads training data as Detectron2 does, in a stream that can be entered at any batch.

    The images come in the order of Detectron2's sampler (``DATALOADER.SAMPLER_TRAIN``), grouped
    by aspect ratio if ``DATALOADER.ASPECT_RATIO_GROUPING`` says so. Each is augmented with random
    numbers of its own. So batch k is the same whether or not the run was interrupted before it,
    and however many workers load it (``DATALOADER.NUM_WORKERS``).

    With ``DATALOADER.ON_BROKEN_IMAGE`` "skip", an image that cannot be used is replaced by the next
    one of its kind in the data set.

    Attributes:
        seed: of the stream.
        first: the number of the batch that iteration starts with.
        broken: the images that this process has met and replaced, and what is wrong with them.
    """

    def __init__(self, cfg: CfgNode, mapper: Callable[[Dict], Dict], batch_size: int):
        """Read the data sets, in one process of this machine.

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
        self.broken: Dict[str, str] = {}
        self.skips = skips_broken_images(cfg)
        self.copy_paste = CopyPaste(cfg)
        grouping = cfg.DATALOADER.ASPECT_RATIO_GROUPING
        kinds: List[Hashable] = []  # images of one kind may share a batch

        def read() -> Iterator[Dict]:
            empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
            for record in training_records(cfg.DATASETS.TRAIN, filter_empty=empty):
                kinds.append(grouping and record["width"] > record["height"])
                yield record

        self.records = load_once_per_machine(cfg.DATASETS.TRAIN, read)
        self.kinds = once_per_machine(lambda: kinds)

    @property
    def most_to_skip(self) -> int:
        """How many images may be replaced."""
        return most_to_skip(len(self.records)) if self.skips else 0

    def starting_at(self, batch: int) -> "TrainLoader":
        """Another loader of the same stream and images, which loads within this process.

        Args:
            batch: the number of the batch that it starts with.
        """
        other = copy.copy(self)
        other.first = batch
        other.cfg = self.cfg.clone()
        other.cfg.defrost()
        other.cfg.DATALOADER.NUM_WORKERS = 0
        return other

    def __iter__(self) -> Iterator[List[Dict]]:
        """Yield the batches.

        Raises:
            BrokenImageError: an image cannot be used, or more than may be replaced.
        """
        for batch in self._load():
            for _, broken in batch:
                self.broken.update(broken)
            if len(self.broken) > self.most_to_skip:
                raise BrokenImageError(self.broken)
            yield [sample for sample, _ in batch]

    def _load(self) -> Iterable[List[Tuple[Any, Dict[str, str]]]]:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.SEED = self.seed
        seed_all_rng(self.seed)  # most of Detectron2's samplers draw a seed of their own
        sampler = build_detection_train_loader.from_config(
            cfg, mapper=self.mapper, dataset=self.records
        )["sampler"]
        batches = group(number_globally(sampler), self.batch_size, self.kinds)
        return DataLoader(
            _SeededSamples(
                self.records,
                self.mapper,
                self.seed,
                self.kinds,
                self.most_to_skip,
                self.copy_paste,
            ),
            batch_sampler=islice(batches, self.first, None),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            collate_fn=trivial_batch_collator,
            worker_init_fn=outlive_signals,
            pin_memory=cfg.DATALOADER.PIN_MEMORY and cfg.MODEL.DEVICE.startswith("cuda"),
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
    """Holds, for (number, index), what the mapper makes of a record with the seed of the number.

    An image that cannot be used comes with what is wrong, not as an exception: from a process that
    loads data it would come with a traceback in its message.
    """

    def __init__(
        self,
        records: PackedList,
        mapper: Callable[[Dict], Dict],
        seed: int,
        kinds: Sequence[Hashable],
        most_to_skip: int,
        copy_paste: CopyPaste,
    ):
        self.records = records
        self.mapper = mapper
        self.seed = seed
        self.kinds = kinds
        self.most_to_skip = most_to_skip
        self.copy_paste = copy_paste

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, sample: Tuple[int, int]) -> Tuple[Any, Dict[str, str]]:
        """Map a record, or the next one of its kind that can be used.

        Returns:
            what the mapper made, and those that could not be used with what is wrong with them; if
            these are more than may be skipped, None and these.
        """
        number, index = sample
        broken: Dict[str, str] = {}
        for candidate in self._of_its_kind(index):
            seed_for(self.seed, SAMPLE, number)
            mapped = self._map(candidate, broken)
            if mapped and self.copy_paste.is_due():
                source = self._map(np.random.randint(len(self.records)), broken)
                mapped = self.copy_paste(mapped, source) if source else mapped
            if len(broken) > self.most_to_skip:
                break
            if mapped:
                return mapped, broken
        return None, broken

    def _map(self, index: int, broken: Dict[str, str]) -> Any:
        """Map a record; if it cannot be used, note what is wrong, and return None."""
        record = self.records[index]
        try:
            return self.mapper(record)
        except UNUSABLE as error:
            broken[record["file_name"]] = str(error)
            return None

    def _of_its_kind(self, index: int) -> Iterator[int]:
        """Begin at an index, and go round through all of the same kind."""
        for other in chain(range(index, len(self.kinds)), range(index)):
            if self.kinds[other] == self.kinds[index]:
                yield other
