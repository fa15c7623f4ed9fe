"""Weights that have a name in place of a path (``scnet://R_50_FPN_20e``)."""

from typing import IO, Any, List

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler


class NamedWeightsHandler(PathHandler):
    """Lets ``MODEL.WEIGHTS`` be a prefix and a name. Subclasses say where such weights are.

    Attributes:
        prefix: with "://".
    """

    prefix: str

    def _get_supported_prefixes(self) -> List[str]:
        return [self.prefix]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return open(self._get_local_path(path), mode)

    def register(self) -> None:
        """Let Detectron2's PathManager understand the prefix."""
        PathManager.register_handler(self, allow_override=True)
