"""Saving checkpoints that are whole or not there, and loading weights with a report."""

import io
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from glob import escape as glob_escape
from glob import glob
from typing import IO, Any, Callable, Dict, List, Optional
from urllib.parse import ParseResult, urlparse

import torch
from detectron2.checkpoint import DetectionCheckpointer
from fvcore.common.checkpoint import Checkpointer, _IncompatibleKeys
from torch import nn

from ..whole_files import remove_if_there
from .durable import rename_durably, write_durably
from .fit import (
    describe,
    refuse_other_pixels,
    refuse_partial_weights,
    refuse_strange_weights,
    refuse_surplus_weights,
)
from .other_formats import from_another_program, from_model_zoo, from_pycls
from .reading import check_named, check_weights, read_pickle, read_safetensors, read_torch
from .stem import adapt_stem
from .weights_file import find_weights

UNFINISHED = "unfinished_"
BEST = "model_best"
# Of a checkpoint, beside "model", which with a moving average holds the averaged weights.
TRAINER, TRAINING_MODEL = "trainer", "training_model"
PARTS = {TRAINER, TRAINING_MODEL}


class SCNetCheckpointer(DetectionCheckpointer):
    """Saves and loads as Detectron2's checkpointer does, with six differences.

    - A checkpoint is written aside and renamed when it is whole, so that a process which is killed
      leaves the one before it.
    - A thread can write it, while the training goes on.
    - Files are read without running code that they may carry.
    - Weights that are not finite are refused.
    - A model in evaluation mode gets all the weights that its predictions need, and has a place
      for all weights; else it is an error. Training may start from the weights of other classes,
      or of the backbone alone, but not from weights of which none fits.
    - It says once what was loaded and what was left at its initial value, module by module.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        trusted: bool = False,
        allow_surplus: bool = False,
        in_background: bool = False,
        **kwargs,
    ):
        """Read and write nothing yet.

        Args:
            model, save_dir, kwargs: see :class:`detectron2.checkpoint.DetectionCheckpointer`.
            trusted: read files that may run any code (MODEL.TRUST_WEIGHTS).
            allow_surplus: let the weights in evaluation mode have parameters that the model has
                not (MODEL.ALLOW_SURPLUS_WEIGHTS).
            in_background: let a thread write checkpoints (SOLVER.CHECKPOINT_IN_BACKGROUND). One is
                serialized in memory first, so that it holds the weights of its step.
        """
        super().__init__(model, save_dir, **kwargs)
        self.trusted = trusted
        self.allow_surplus = allow_surplus
        self._thread = ThreadPoolExecutor(1, "checkpoint") if in_background else None
        self._writing: Optional[Future] = None

    def save(self, name: str, **kwargs) -> None:
        """Write a checkpoint; see :meth:`fvcore.common.checkpoint.Checkpointer.save`.

        In the background, the one before is waited for, and its error raised.

        Raises:
            FloatingPointError: weights are not finite; nothing is written.
            OSError: the file cannot be written. What was there before is unchanged.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        self.finish_writing()
        check_finite(self.model)
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        content = {"model": self.model.state_dict(), **parts, **kwargs}
        if self._thread is None:
            self._write(name, lambda file: torch.save(content, file))
        else:
            memory = io.BytesIO()
            torch.save(content, memory)
            self._writing = self._thread.submit(
                self._write, name, lambda file: file.write(memory.getbuffer())
            )

    def check_writing(self) -> None:
        """Raise the error of a checkpoint that could not be written in the background, if any.

        Raises:
            OSError: see :meth:`save`.
        """
        if self._writing and self._writing.done():
            self.finish_writing()

    def finish_writing(self) -> None:
        """Wait for a checkpoint that is written in the background.

        Raises:
            OSError: see :meth:`save`.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _write(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        """Write a file, give it its name when it is whole, and let ``last_checkpoint`` say it.

        Not for the best weights so far: a training goes on from the latest checkpoint.

        Raises:
            OSError: see :meth:`save`.
        """
        path = os.path.join(self.save_dir, f"{name}.pth")
        unfinished = os.path.join(self.save_dir, f"{UNFINISHED}{name}.pth")
        self.logger.info(f"Saving checkpoint to {path}")
        try:
            remove_if_there(unfinished)
            with open(unfinished, "xb") as file:  # "x" follows no link
                write(file)
            rename_durably(unfinished, path)
            if name != BEST:
                self.tag_last_checkpoint(f"{name}.pth")
        except (OSError, RuntimeError) as error:  # PyTorch's writer raises the latter
            remove_if_there(unfinished)
            last = self._last_checkpoint()
            raise OSError(
                f"Cannot write the checkpoint '{name}.pth' in '{self.save_dir}': {error}. "
                + (f"The last one, '{last}', is whole. " if last else "There is none before it. ")
                + "Make room or choose another OUTPUT_DIR, and go on with --resume."
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        write_durably(os.path.join(self.save_dir, "last_checkpoint"), last_filename_basename)

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Find the checkpoint that a training goes on from.

        Returns:
            the path of the one that ``last_checkpoint`` names. If that is lost, or names a file
            that is not there: of the newest checkpoint, if there is one; else "".

        Raises:
            OSError: one that is written in the background cannot be written.
            ValueError: ``model_final.pth`` has to be read to find the newest, and is damaged.
        """
        self.finish_writing()
        return self._last_checkpoint()

    def _last_checkpoint(self) -> str:
        named = super().get_checkpoint_file() if super().has_checkpoint() else ""
        if named and os.path.isfile(named):
            return named
        found = self._newest()
        if found:
            lost = f"'{named}', which last_checkpoint names," if named else "'last_checkpoint'"
            self.logger.warning(f"{lost} is missing. The newest checkpoint there is '{found}'.")
        return found or named

    def _newest(self) -> str:
        """Find the checkpoint with the most iterations in the folder; "" if there is none."""
        numbered = sorted(glob(os.path.join(glob_escape(self.save_dir), "model_[0-9]*.pth")))
        final = os.path.join(self.save_dir, "model_final.pth")
        if not os.path.isfile(final):
            return numbered[-1] if numbered else ""
        last = int(re.findall(r"\d+", os.path.basename(numbered[-1]))[0]) if numbered else -1
        return final if self._torch_load(final).get("iteration", -1) >= last else numbered[-1]

    def load(self, path: str, checkpointables: Optional[List[str]] = None) -> Dict[str, Any]:
        """Load a file; see :meth:`fvcore.common.checkpoint.Checkpointer.load`.

        Raises:
            OSError: there is no such file, or it cannot be fetched.
            ValueError: the file is damaged or no file of weights, or its weights are not finite; it
                holds more than weights and is not trusted; it lacks a part that a training needs to
                go on; none of its weights fits; or the model is in evaluation mode, and the weights
                lack parameters that it needs, or have others that it has no place for.
        """
        self._path = path
        # A training that begins takes the weights alone. Others have weights of their own images.
        self._begins = self.model.training and checkpointables is not None
        if path:
            find_weights(path)
        if "://" in path:
            rest = super().load(path, checkpointables)
        else:
            # Detectron2's would take what follows a "?" in the name of a folder for a query.
            self._parsed_url_during_load: Optional[ParseResult] = urlparse("")
            try:
                rest = Checkpointer.load(self, path, checkpointables)
            finally:
                self._parsed_url_during_load = None
        if checkpointables is None and self.checkpointables:
            self._check_parts(path)
        return rest

    def _check_parts(self, path: str) -> None:
        """Refuse a file to go on from that has other parts than this training.

        Raises:
            ValueError: a part is missing, or would be lost.
        """
        parts, wanted = self._parts & PARTS, self.checkpointables.keys() & PARTS
        if parts != wanted:
            missing, extra = ", ".join(wanted - parts), ", ".join(parts - wanted)
            raise ValueError(
                f"Cannot go on from '{path}': "
                + " and ".join(
                    [f"it has no '{missing}'"] * bool(missing)
                    + [f"the training would lose its '{extra}'"] * bool(extra)
                )
                + ". Use the config.yaml of the run, SOLVER.EMA.ENABLED above all; or start anew "
                "from these weights, with MODEL.WEIGHTS and another OUTPUT_DIR."
            )

    def _load_model(self, checkpoint: Dict[str, Any]) -> _IncompatibleKeys:
        self._parts = set(checkpoint)
        names, path, model = list(checkpoint["model"]), self._path, self.model
        refuse_other_pixels(path, checkpoint["model"], model)
        if self._begins:
            checkpoint["model"], text = adapt_stem(checkpoint["model"], model)
            if text:
                self.logger.info(text)
        incompatible = super()._load_model(checkpoint)
        refuse_strange_weights(path, names, model, incompatible)
        if not model.training:
            refuse_partial_weights(model, incompatible)
            if not self.allow_surplus:
                refuse_surplus_weights(path, model, incompatible)
        return incompatible

    def _load_file(self, filename: str) -> Dict[str, Any]:
        if filename.endswith(".pkl"):
            content = check_named(read_pickle(filename, self.trusted), filename)
            content = from_model_zoo(content, filename)
        elif filename.endswith(".pyth"):
            content = from_pycls(self._torch_load(filename), filename)
        elif filename.endswith(".safetensors"):
            content = from_another_program(
                {"model": read_safetensors(filename)}, filename, self.model
            )
        else:
            content = from_another_program(super()._load_file(filename), filename, self.model)
        for part in ("model", TRAINING_MODEL):
            if part in content:
                check_weights(content[part], filename)
        return content

    def _torch_load(self, f: str) -> Dict[str, Any]:
        return check_named(read_torch(f, self.trusted), f)

    def _log_incompatible_keys(self, incompatible: _IncompatibleKeys) -> None:
        self.logger.info(describe(self.model, incompatible))


def check_finite(model: nn.Module) -> None:
    """Refuse a model whose training has failed.

    Raises:
        FloatingPointError: a weight is infinite or not a number.
    """
    broken = [n for n, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise FloatingPointError(
            f"{len(broken)} tensors of the model are not finite, {', '.join(broken[:5])} among "
            "them, so no checkpoint was written. Go on from the last one (--resume) with a lower "
            "SOLVER.BASE_LR or with SOLVER.CLIP_GRADIENTS.ENABLED True."
        )
