"""Models that are shared on Hugging Face (``hf://owner/name``, ``hf://owner/name@revision``).

A repository has ``model.safetensors``, which is read as data, and mostly ``config.yaml``, which is
read as any config: it cannot grant trust.
"""

import functools
import logging
import os
import re
from typing import Any, Optional

from .hashes import verify_as_kept
from .named import NamedWeightsHandler

PREFIX = "hf://"
WEIGHTS, CONFIG = "model.safetensors", "config.yaml"

logger = logging.getLogger(__name__)


class HubHandler(NamedWeightsHandler):
    """Fetches the weights of a repository, and the config beside them; see :func:`fetch`."""

    prefix = PREFIX

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return fetch(path)


@functools.cache  # so that a process reads weights and config of one commit
def fetch(weights: str) -> str:
    """Find the files of a repository in the cache of huggingface_hub, or else download them.

    A token for private repositories is that of huggingface_hub: of ``hf auth login``, or HF_TOKEN.

    Args:
        weights: "hf://owner/name"; after an "@" a branch, a tag or a commit, by default "main".

    Returns:
        the path of ``model.safetensors``, beside which is ``config.yaml`` if the repository has
        one.

    Raises:
        OSError: there is no such repository or revision, it has no such weights, or there is no
            network and they are not in the cache.
        ValueError: it is no such name, huggingface_hub is not installed, or the file is not what
            its hash says.
    """
    parts = re.fullmatch(rf"{PREFIX}([\w.-]+/[\w.-]+)(?:@([^\s@?#]+))?", weights)
    if not parts:
        raise ValueError(f"'{weights}' is no name of weights: write {PREFIX}OWNER/NAME[@REVISION].")
    require_hub(weights)
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, revision = parts.groups()
    try:
        path = download(repository, WEIGHTS, revision)
        commit = os.path.basename(os.path.dirname(path))
        try:
            download(repository, CONFIG, commit)
        except LocalEntryNotFoundError:  # there may be one
            raise
        except EntryNotFoundError:
            logger.info(f"'{weights}' has no {CONFIG}.")
    except OSError as error:
        raise OSError(f"Cannot fetch '{weights}': {explain(error)}") from error
    verify_as_kept(path)
    logger.info(f"'{weights}' is commit {commit}, in {os.path.dirname(path)}.")
    return path


def download(repository: str, name: str, revision: Optional[str]) -> str:
    """Find a file in the cache of huggingface_hub, or else download it.

    Raises:
        OSError: one of huggingface_hub's; or the connection broke.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    try:
        path: str = hf_hub_download(repository, name, revision=revision)
    except HTTPError as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionError(f"the connection broke ({error}). Try again") from error
    return path


def require_hub(name: str) -> None:
    """Make sure that huggingface_hub is there.

    Args:
        name: what needs it.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"'{name}' needs the package huggingface_hub, which is not installed. Run "
            "python -m pip install 'huggingface_hub>=1.0' safetensors (the extra 'hub' of this "
            "package)."
        ) from error


def explain(error: Exception) -> str:
    """Say what an error of huggingface_hub means, and what to do."""
    from huggingface_hub import constants, errors

    login = "log in: hf auth login, or the variable HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return f"its owner decides who gets it. Ask on its page, then {login}."
    response = getattr(error, "response", None)
    denied = getattr(response, "status_code", None) in (401, 403)
    if isinstance(error, errors.RepositoryNotFoundError) or denied:
        return f"there is no such repository, or it is not open to you. If it is private, {login}."
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision. Give a branch, a tag or a commit of it."
    if isinstance(error, errors.LocalEntryNotFoundError):
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "there is no network"
        return (
            f"{why}, and it is not in the cache {constants.HF_HUB_CACHE}. Fetch it once with "
            "network: then it is kept there."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return (
            f"the repository has no {WEIGHTS}. If it has other weights, fetch them by hand, and "
            "give the file."
        )
    return f"{' '.join(str(error).split()).rstrip('.')}."
