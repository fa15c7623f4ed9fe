"""Detectron2's checkpointer, with one readable report of what a training starts from."""

import os
from typing import Dict, List

from detectron2.checkpoint import DetectionCheckpointer
from tabulate import tabulate


class SCNetCheckpointer(DetectionCheckpointer):
    """Says once what was loaded and what was left at its initial value, module by module."""

    def load(self, path: str, *args, **kwargs):
        """See :meth:`fvcore.common.checkpoint.Checkpointer.load`.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if path and "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError(f"Weights '{path}' do not exist.")
        return super().load(path, *args, **kwargs)

    def _log_incompatible_keys(self, incompatible) -> None:
        names = list(self.model.state_dict())
        misshapen = {key for key, *_ in incompatible.incorrect_shapes}
        absent = [x for x in incompatible.missing_keys if x not in misshapen]
        loaded = len(names) - len(misshapen) - len(absent)
        report = [f"{loaded} of {len(names)} tensors of the model were loaded."]
        if absent:
            groups = ", ".join(group(absent, names))
            report.append(f"Not in the weights, left at their initial values: {groups}")
        if misshapen:
            headers = ("left at its initial value", "shape in the weights", "in the model")
            report.append(tabulate(incompatible.incorrect_shapes, headers))
        if incompatible.unexpected_keys:
            unused = incompatible.unexpected_keys
            groups = ", ".join(group(unused, unused + names))
            report.append(f"In the weights, but not in the model: {groups}")
        self.logger.info("\n".join(report))


def group(chosen: List[str], names: List[str]) -> List[str]:
    """Write "a.b.*" where all names below "a.b" are among the chosen.

    Args:
        chosen: some of the names.
        names: of all parameters, parts separated by dots.
    """
    counts: Dict[str, int] = {}
    for sign, keys in ((1, names), (-1, chosen)):
        for key in keys:
            parts = key.split(".")
            for depth in range(1, len(parts)):
                prefix = ".".join(parts[:depth])
                counts[prefix] = counts.get(prefix, 0) + sign
    grouped: Dict[str, None] = {}  # a set in order
    for key in chosen:
        parts = key.split(".")
        prefixes = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        whole = next((prefix for prefix in prefixes if counts[prefix] == 0), None)
        grouped[f"{whole}.*" if whole else key] = None
    return list(grouped)
