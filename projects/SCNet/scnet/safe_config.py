"""A config that reads files as data: a file cannot run code, fetch others, or grant trust.

Nor can it choose the device, which is a property of the machine and not of a training.
"""

import logging
import os
from typing import IO, Any, Dict, Union

import yaml
from detectron2.config import CfgNode

from .config_mistakes import reason

logger = logging.getLogger(__name__)

# What fvcore and yacs raise for keys that do not exist, values that are no values, and bases that
# are no names.
ODD_CONTENT = (KeyError, AssertionError, AttributeError, TypeError)


class SafeCfgNode(CfgNode):
    """Detectron2's config, whose files are plain YAML.

    Detectron2 reads its own with the tags that run Python, and lets ``_BASE_`` be a URL. Here the
    root of a config is of this class; the nodes below it are Detectron2's, so that functions that
    add keys (``add_pointrend_config``) need not know of it.
    """

    @classmethod
    def _create_config_tree_from_dict(cls, dic, key_list):
        return CfgNode._create_config_tree_from_dict(dic, key_list)

    @classmethod
    def _decode_cfg_value(cls, value):
        return CfgNode._decode_cfg_value(value)

    @classmethod
    def _open_cfg(cls, filename: str) -> IO[str]:
        return open(filename, encoding="utf-8")  # Detectron2's PathManager fetches what it can

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> Dict[str, Any]:
        """Read a file and the files that it names as ``_BASE_``.

        Args:
            filename: of a yaml file.
            allow_unsafe: not used.

        Raises:
            FileNotFoundError: there is no such file, or it is no ordinary file.
            ValueError: it is a URL, has Python tags, is no YAML, or holds no keys.
        """
        check_is_file(filename)
        try:
            content = super().load_yaml_with_base(filename, allow_unsafe=False)
        except yaml.constructor.ConstructorError as error:
            raise ValueError(
                f"The config '{filename}' has a tag that is not read, as it may run any code "
                f"({error.problem}{error.problem_mark}). Write the value itself."
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"The config '{filename}' is no YAML: {error}.") from error
        except ODD_CONTENT as error:
            raise ValueError(
                f"The config '{filename}' has no lines 'KEY: VALUE', or a key or its _BASE_ is no "
                "text."
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"The config '{filename}' has no lines 'KEY: VALUE'.")
        return content

    def merge_from_file(
        self, cfg_filename: Union[str, os.PathLike], allow_unsafe: bool = False
    ) -> None:
        """Take the values of a yaml file, but for MODEL.DEVICE; see Detectron2's.

        Args:
            cfg_filename: of the file.
            allow_unsafe: not used.

        Raises:
            FileNotFoundError, ValueError: see :meth:`load_yaml_with_base`.
            ValueError: a key does not exist, a value has another type than the key, files name each
                other as ``_BASE_`` in a circle, or MODEL.TRUST_WEIGHTS is True.
        """
        filename, trusted = os.fspath(cfg_filename), self.MODEL.TRUST_WEIGHTS
        device = self.MODEL.DEVICE
        check_is_file(filename)
        try:
            super().merge_from_file(filename)
        except (*ODD_CONTENT, RecursionError, ValueError) as error:
            if str(error).startswith("The config '"):  # it has its sentence
                raise
            raise ValueError(
                f"The config '{filename}' cannot be used: {reason(self, error)}."
            ) from error
        if device != self.MODEL.DEVICE:
            logger.warning(
                f"MODEL.DEVICE '{self.MODEL.DEVICE}' in '{filename}' is not used: the device is a "
                f"property of the machine, and here it is '{device}'. To choose another, add "
                "MODEL.DEVICE to the command."
            )
            self.MODEL.DEVICE = device
        if self.MODEL.TRUST_WEIGHTS and not trusted:
            self.MODEL.TRUST_WEIGHTS = False
            raise ValueError(
                f"'{filename}', or a _BASE_ of it, sets MODEL.TRUST_WEIGHTS. A file cannot vouch "
                "for others, so remove the key there; if you trust the weights, add "
                "MODEL.TRUST_WEIGHTS True to the command."
            )

    def dump(self, *args, **kwargs) -> str:
        """Write the config as yaml, but for the trust and the device, which no file decides."""
        plain = CfgNode(self)
        plain.MODEL.TRUST_WEIGHTS = False
        del plain.MODEL["DEVICE"]
        return plain.dump(*args, **kwargs)


def check_is_file(filename: str) -> None:
    """Make sure that a config is an ordinary file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is a URL.
    """
    if "://" in filename:
        raise ValueError(
            f"The config '{filename}' is a URL. Configs and their _BASE_ are files: fetch it, and "
            "name the file."
        )
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"The config '{filename}' does not exist.")
