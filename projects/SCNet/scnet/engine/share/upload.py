"""The way of a folder to Hugging Face."""

import re
from contextlib import contextmanager
from typing import Any, Iterator

from ...checkpoint.hub import PREFIX, explain, require_hub
from .model_folder import FILES


def check_name(repository: str) -> None:
    """Make sure that a repository can have this name, and that it can be written to at all.

    Raises:
        ValueError: it is not "OWNER/NAME", or huggingface_hub is not installed.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"'{repository}' is no name of a repository: write OWNER/NAME.")
    require_hub(PREFIX + repository)


def upload(folder: str, repository: str, public: bool = False, overwrite: bool = False) -> str:
    """Put a folder into a repository of Hugging Face, which is made if there is none.

    Args:
        folder: of :func:`scnet.engine.share.model_folder.write_model_folder`.
        repository: "OWNER/NAME".
        public: everybody may see it; else its owner alone. A repository that is there stays what it
            is, and has to be what is asked for.
        overwrite: replace the model of a repository that has files.

    Returns:
        the address of the repository.

    Raises:
        FileExistsError: the repository has files, and ``overwrite`` is False.
        ValueError: it is public and ``public`` is False, or the reverse.
        OSError: it cannot be read or written; the message says why.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi()
    with _explained(repository):
        try:
            there = api.model_info(repository)
        except RepositoryNotFoundError:
            there = None
    if there:
        _check(repository, there, public, overwrite)
    with _explained(repository):
        if not there:
            api.create_repo(repository, private=not public)
        # A report of a model that was there before would be taken for that of this one.
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Share a model of SCNet",
            delete_patterns=list(FILES),
        )
    return f"{api.endpoint}/{repository}"


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Within it, errors of huggingface_hub become a sentence.

    Raises:
        OSError: in place of the one that came.
    """
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, HTTPError, RuntimeError) as error:  # the last: a file did not arrive
        raise OSError(f"Cannot push to '{repository}': {explain(error)}") from error


def _check(repository: str, there: Any, public: bool, overwrite: bool) -> None:
    """Refuse a repository that is seen by others than asked for, or has files."""
    if there.private and public:
        raise ValueError(
            f"'{repository}' is private, and --public does not change that: change it on its page, "
            "or leave --public out."
        )
    if not there.private and not public:
        raise ValueError(
            f"'{repository}' is public: everybody will see the model. If you want that, add "
            "--public; otherwise choose another name."
        )
    files = sorted({x.rfilename for x in there.siblings or []} - {".gitattributes"})
    if files and not overwrite:
        raise FileExistsError(
            f"'{repository}' has files already ({', '.join(files[:5])}"
            f"{', ...' * (len(files) > 5)}). Choose another name, or add --overwrite: it replaces "
            "a model there, and leaves other files."
        )
