"""How often the lines of this project may make the host wait for a GPU."""

from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Iterable, Iterator, List

from scnet.modeling.context_pooler import ContextPooler


@contextmanager
def poolings_of(model) -> Iterator[List]:
    """Within it, the list that is given grows by one with each pooling of regions."""
    poolings: List[None] = []
    hooks = [
        module.register_forward_hook(lambda *_: poolings.append(None))
        for module in model.modules()
        if isinstance(module, ContextPooler)
    ]
    yield poolings
    for hook in hooks:
        hook.remove()


def allowed_waits(cfg, poolings: int, training: bool, images: int = 2) -> Counter:
    """The number of waits by file.

    They are for the numbers of regions of each pooling; in training for the mean IoU of each mask
    head's samples, for their box features for the relay, and for the semantic maps.
    """
    allowed = Counter({"context_pooler.py": poolings})
    if training:
        heads = 1 if cfg.MODEL.SCNET.MASK_BRANCH == "sample_consistency" else 3
        allowed["mask_branch.py"] = heads * (1 + cfg.MODEL.SCNET.FEATURE_RELAY)
        allowed["semantic_head.py"] = images
    return allowed


def our_waits(files: Iterable[str]) -> Counter:
    """The number of waits by file, of those whose lines are of this project."""
    return Counter(Path(file).name for file in files if "/scnet/" in file)
