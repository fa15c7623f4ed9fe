"""What one process makes, and others get from it: above all those of its machine."""

import io
import os
import pickle
import tempfile
from contextlib import contextmanager
from typing import IO, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, TypeVar

import numpy as np
import torch
from detectron2.utils import comm

from .collector import paused_collector

T = TypeVar("T")


def once_per_machine(make: Callable[[], T]) -> T:
    """Make something in the first process of this machine; all processes get it.

    All must call this function, in the same order.

    Args:
        make: makes something small that can be pickled.

    Raises:
        Exception: what ``make`` raises, in all processes.
    """
    if comm.get_local_size() == 1:
        return make()
    return from_first_process(make, comm.get_local_rank() == 0, comm.get_local_process_group())


def from_first_process(
    make: Callable[[], T], is_first: bool, group: Optional[torch.distributed.ProcessGroup] = None
) -> T:
    """Make something in the first process of a group; all of the group call this and get it.

    Args:
        make: what it returns or raises can be pickled.
        is_first: this process is the first of the group.
        group: of processes; by default all.

    Raises:
        Exception: what ``make`` raises, in all processes.
    """
    made: Optional[T] = None
    failed: Optional[Exception] = None
    if is_first:
        try:
            made = make()
        except Exception as error:  # the others would wait in vain
            failed = error
    made, failed_there = comm.all_gather((made, failed), group)[0]
    if failed_there:
        raise failed or failed_there  # its own has a traceback
    return made


class PackedList:
    """A list of dicts, each pickled, in one block of memory that processes can share.

    Detectron2's ``DatasetFromList`` packs in the same way, and
    https://ppwwyyxx.com/blog/2022/Demystify-RAM-Usage-in-Multiprocess-DataLoader/ says why: a
    process that loads data would copy a list of dicts, bit by bit.
    """

    def __init__(self, content: torch.Tensor, ends: torch.Tensor) -> None:
        """Take over what is packed.

        Args:
            content: (B,) uint8, the bytes of the items.
            ends: (N,) int64, where each of them ends.
        """
        self._content, self._ends = content, ends

    @classmethod
    def of(cls, items: Iterable[Dict]) -> "PackedList":
        """Pack items, one at a time."""
        memory = io.BytesIO()
        ends = _pack(items, memory)
        return cls(torch.from_numpy(np.frombuffer(memory.getbuffer(), np.uint8)), ends)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Dict]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Dict:
        end = int(self._ends[index])
        start = int(self._ends[index - 1]) if index else 0
        return pickle.loads(self._content[start:end].numpy().data)


def packed_once_per_machine(read: Callable[[], Iterable[Dict]]) -> PackedList:
    """Read a list in the first process of this machine, for all of them.

    The others map a temporary file, so that the list is in memory once. Shared memory would be
    another way, but a container has 64 MB of it by default. The file has no name when this function
    returns, so that it goes with the processes.

    Args:
        read: makes the items, at least one; each can be pickled.

    Raises:
        OSError: there is no room in the folder for temporary files.
        Exception: what ``read`` raises.
    """
    if comm.get_local_size() == 1:
        return PackedList.of(read())

    def write() -> Tuple[str, torch.Tensor]:
        items = iter(read())
        with tempfile.NamedTemporaryFile(prefix="scnet_", delete=False) as f:
            try:
                ends = _pack(items, f)
                f.flush()
            except BaseException:
                os.unlink(f.name)
                raise
        return f.name, ends

    path, ends = once_per_machine(write)
    content = torch.from_file(path, shared=False, size=int(ends[-1]), dtype=torch.uint8)
    once_per_machine(lambda: None)  # all have mapped it
    if comm.get_local_rank() == 0:
        os.unlink(path)
    return PackedList(content, ends)


def taken(items: List[T]) -> Iterator[T]:
    """Take the items off a list, so that memory need not have them once they have been used."""
    items.reverse()
    while items:
        yield items.pop()


@paused_collector()  # each item is gone as soon as it is packed
def _pack(items: Iterable[Dict], file: IO[bytes]) -> torch.Tensor:
    """Write items. If they are made one at a time, memory has one at a time.

    Returns:
        (N,) int64, where each ends in the file.

    Raises:
        OSError: there is no room for them.
    """
    sizes = []
    for item in items:
        packed = pickle.dumps(item, protocol=-1)
        with _named_if_full():
            sizes.append(file.write(packed))
    with _named_if_full():
        file.flush()
    return torch.tensor(sizes, dtype=torch.int64).cumsum(0)


@contextmanager
def _named_if_full() -> Iterator[None]:
    """Within it, an error of the folder for temporary files names it."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The data sets cannot be written to '{tempfile.gettempdir()}', where the processes of "
            f"this machine share them: {error}. Set TMPDIR to a folder with more room."
        ) from error
