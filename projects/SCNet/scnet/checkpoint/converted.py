"""Fetching weights once, converting them, and keeping them in the cache."""

import hashlib
import os
import re
from abc import abstractmethod
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import file_lock, get_cache_dir

from ..whole_files import write_whole
from .hashes import verify_hash
from .named import NamedWeightsHandler


class ConvertedWeightsHandler(NamedWeightsHandler):
    """Keeps weights in the form that they are read in. Subclasses say how to get them.

    Attributes:
        suffix: of the converted file; it tells Detectron2's checkpointer how to read it.
    """

    suffix: str

    @abstractmethod
    def convert(self, name: str, folder: str) -> bytes:
        """Fetch weights and convert them; return the content of the converted file.

        Args:
            name: what follows the prefix.
            folder: of the cache, for files that may be needed again.
        """

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """Get the converted file, whose hash is kept beside it.

        Raises:
            ValueError: the name is a path, or the file has changed since it was written; or see
                :meth:`convert`.
        """
        name = path[len(self.prefix) :]
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"'{path}': there are no weights of such a name.")
        folder = os.path.join(get_cache_dir(), "scnet", self.prefix.split(":")[0])
        target = os.path.join(folder, name + self.suffix)
        hash_file = target + ".sha256"
        PathManager.mkdirs(folder)
        with file_lock(target):  # the processes of a distributed run all ask for it
            if not (os.path.exists(target) and os.path.exists(hash_file)):
                content = self.convert(name, folder)
                write_whole(target, content)
                write_whole(hash_file, hashlib.sha256(content).hexdigest().encode())
        with open(hash_file) as f:
            verify_hash(target, f.read())
        return target
