"""The numbers of an evaluation, as files."""

import json
import os
from typing import Dict, Sequence

from tabulate import tabulate

from ...whole_files import whole_file

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR")


def write_results(
    results: Dict[str, Dict[str, Dict[str, float]]], folder: str, broken: Sequence[str] = ()
) -> None:
    """Save the numbers of an evaluation, and a table of them.

    Args:
        results: data set -> "bbox" or "segm" -> metric -> value in percent.
        folder: gets ``results.json`` with all of them and ``results.md`` with the main ones.
        broken: names of images that were counted without detections; ``results.md`` has them.
    """
    os.makedirs(folder, exist_ok=True)
    rows = [
        [dataset, task, *(metrics.get(name, float("nan")) for name in METRICS)]
        for dataset, tasks in results.items()
        for task, metrics in tasks.items()
    ]
    head = ["data set", "task", *METRICS]
    table = tabulate(rows, head, tablefmt="github", floatfmt=".1f", disable_numparse=[0])
    with whole_file(os.path.join(folder, "results.md")) as f:
        f.write(table + "\n")
        if broken:
            f.write(f"\n{len(broken)} images could not be used, and count without detections:\n\n")
            f.writelines(f"- `{name}`\n" for name in broken)
    with whole_file(os.path.join(folder, "results.json")) as f:
        json.dump(results, f, indent=1)
