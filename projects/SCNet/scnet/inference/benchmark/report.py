"""How fast models are, as a table in Markdown."""

import json
import os
import time
from pathlib import Path
from typing import Optional

import torch
from tabulate import tabulate

from ...device_name import device_name
from ...overwrite import refuse_impossible_outputs
from ...tf32 import set_tf32_alike
from ...whole_files import whole_file
from .measure import measure
from .parts import PARTS
from .settings import Settings

FILES = ("benchmark.md", "benchmark.json")
NOTES = """
Times: seconds per image, medians of the rounds; min and max of the total. A part lasts until the
next one begins. Context: semantic branch and global context. Boxes: all cascade stages and
non-maximum suppression. Masks: with feature relay. Post-processing: boxes rescaled, masks pasted.
Other: the total less the parts; images normalized and padded. Speed: total of the first config /
total of this one; above 1 is faster. Detections: per image. Parameters: millions of weights and
biases, frozen ones too. GFLOPs: per image, of convolutions and matrix products by their
definitions, a multiply-add counted as 2. Limit: seconds that these would take at the speed of a
large matrix product in the precision of the convolutions, which is measured in each round.
Of limit: limit / total; it can exceed 1 with --optimize, which computes some convolutions with
fewer operations. Channels last: the layout of the weights in memory. MiB: peak memory of building
the model and running it once (GPU: what PyTorch allocated there; CPU: the resident set of a process
that does nothing else).
"""


def benchmark(settings: Settings, folder: Optional[str] = None) -> str:
    """Measure, and report in Markdown.

    Args:
        folder: gets benchmark.md, the report, and benchmark.json, the numbers.

    Raises:
        FileExistsError: the folder has such files.
        OSError: they cannot be written.
    """
    for path in (Path(folder, name) for name in FILES) if folder else ():
        refuse_impossible_outputs([str(path)], [])
        if path.exists():
            raise FileExistsError(f"'{folder}' has {path.name} already. Choose another --output.")
    torch.set_num_threads(settings.threads)
    tf32 = set_tf32_alike() if settings.device == "cuda" else "no, not on a CPU"
    rows = measure(settings)
    height, width = settings.size
    description = {
        "device": f"{device_name(settings.device)}, {settings.threads} CPU threads",
        "torch": torch.__version__,
        "images": f"{settings.input or 'random'}, {height} x {width} (height x width)",
        "batch size": settings.batch_size,
        "weights": ", ".join(weights or "random" for weights in settings.weights),
        "rounds": f"{settings.rounds}, and {settings.warmup} before to warm up",
        "optimized": "yes" if settings.optimize else "no",
        "compiled": "yes" if settings.compile else "no",
        "precision": settings.dtype,
        "TF32 in float32": tf32,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    seconds = [".4f"] * (len(PARTS) + 4)
    formats = ("", "g", *seconds, ".2f", ".2f", ".2f", ".4f", ".2f", "", ".0f")
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=formats)
    report = "\n".join([*(f"- {k}: {v}" for k, v in description.items()), NOTES, table])
    if folder:
        numbers = json.dumps({"settings": description, "configs": rows}, indent=2)
        for name, text in zip(FILES, (report, numbers)):
            with whole_file(os.path.join(folder, name)) as f:
                f.write(text + "\n")
    return report
