"""Names of ResNet layers in torchvision and in Detectron2."""

from typing import Iterator, Tuple

MAX_BLOCKS = 36  # of one stage: R-152 has the most


def resnet_modules() -> Iterator[Tuple[str, str]]:
    """List the modules of a ResNet or ResNeXt, as (torchvision's name, Detectron2's name)."""
    yield "conv1", "stem.conv1"
    yield "bn1", "stem.conv1.norm"
    for layer in range(1, 5):
        for block in range(MAX_BLOCKS):
            theirs, ours = f"layer{layer}.{block}", f"res{layer + 1}.{block}"
            for conv in (1, 2, 3):
                yield f"{theirs}.conv{conv}", f"{ours}.conv{conv}"
                yield f"{theirs}.bn{conv}", f"{ours}.conv{conv}.norm"
            yield f"{theirs}.downsample.0", f"{ours}.shortcut"
            yield f"{theirs}.downsample.1", f"{ours}.shortcut.norm"
