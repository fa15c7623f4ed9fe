"""What a benchmark measures, and how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
import torch

from ...checkpoint.weights_file import find_weights
from ...config import find_config, read_cfg
from ...data import read_image
from ...image_kind import COLOUR, ImageKind


@dataclass
class Settings:
    """What is measured, and how.

    Attributes:
        config_files: files, or names of shipped ones.
        weights: one file per config; none for random weights.
        size: height and width of the images.
        batch_size: images per inference.
        rounds: runs of each config that count.
        warmup: runs before those.
        device: "cpu" or "cuda", not MODEL.DEVICE; by default "cuda" if there is one.
        optimize: use :func:`optimize_for_inference`.
        compile: use ``torch.compile``, see :func:`compile_regions`.
        dtype: of convolutions and matrix products, by PyTorch's autocast; "float32" for none.
        threads: on the CPU; by default what PyTorch chooses.
        input: an image; by default random ones.
        opts: KEY VALUE pairs for all configs.

    Raises:
        OSError, ValueError: something would go wrong later.
    """

    config_files: List[str]
    weights: List[str] = field(default_factory=list)
    size: Sequence[int] = (800, 1333)
    batch_size: int = 1
    rounds: int = 5
    warmup: int = 1
    device: str = ""
    optimize: bool = False
    compile: bool = False
    dtype: str = "float32"
    threads: int = field(default_factory=torch.get_num_threads)
    input: Optional[str] = None
    opts: Sequence[str] = ()

    def __post_init__(self) -> None:
        files, names = self.config_files, [Path(file).stem for file in self.config_files]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Two configs would be '{name}' in the table. Rename one's file.")
        self.config_files = [find_config(file) for file in files]
        self.weights = self.weights or [""] * len(names)
        if len(self.weights) != len(names):
            raise ValueError(
                f"--weights has {len(self.weights)} files for {len(names)} configs. Give one for "
                "each config, in the same order."
            )
        for name in filter(None, self.weights):
            find_weights(name)
        opts = dict(zip(self.opts[::2], self.opts[1::2]))
        if opts.get("MODEL.WEIGHTS"):
            raise ValueError("MODEL.WEIGHTS has an argument of its own: --weights.")
        has_gpu = torch.cuda.is_available()
        self.device = self.device or ("cuda" if has_gpu else "cpu")
        if self.device == "cuda" and not has_gpu:
            raise ValueError("--device is cuda, but PyTorch sees no GPU here.")
        asked = opts.get("MODEL.DEVICE", self.device)
        if asked != self.device:
            raise ValueError(
                f"--opts has MODEL.DEVICE {asked}, but --device is {self.device}, also where it is "
                "not given. Leave out MODEL.DEVICE."
            )
        if min(*self.size, self.batch_size, self.rounds, self.threads, self.warmup + 1) < 1:
            raise ValueError("--size and all numbers must be 1 or more (--warmup: 0 or more).")
        if self.input:
            self.read_input()  # fails if it is missing or no image

    def read_input(self) -> np.ndarray:
        """Read the image as the first config allows: (H, W, 3) uint8, RGB.

        Raises:
            FileNotFoundError, ValueError: see :func:`scnet.data.read_image`; or the model takes no
                colours of 8 bits.
        """
        cfg = read_cfg(self.config_files[0], self.opts)
        kind = ImageKind.of(cfg)
        if kind != COLOUR:
            raise ValueError(f"--input is a photo, but the first config has {kind}. Leave it out.")
        return read_image(str(self.input), "RGB", cfg.INPUT.MAX_PIXELS)
