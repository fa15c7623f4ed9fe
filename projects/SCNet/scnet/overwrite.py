"""What exists is not written over unasked."""

import os
from typing import Sequence, Union


def refuse_to_replace(paths: Sequence[Union[str, os.PathLike]]) -> None:
    """Make sure that none of the files is there.

    Raises:
        FileExistsError: one is.
    """
    existing = [path for path in paths if os.path.exists(path)]
    if existing:
        raise FileExistsError(
            f"'{existing[0]}' and {len(existing) - 1} more exist already. Choose another place, or "
            "add --overwrite."
        )
