"""Files with a json value per line, which a process that is killed may leave with half a line."""

import json
import os


def drop_half_line(path: str) -> None:
    """Cut off what a killed process has written of a last line, so that the next one is whole.

    Args:
        path: of the file; need not exist.
    """
    if not os.path.exists(path):
        return
    with open(path, "rb+") as f:
        content = f.read()
        end = content.rfind(b"\n") + 1
        rest = content[end:]
        if not rest:
            return
        try:
            json.loads(rest)
        except ValueError:
            f.truncate(end)
        else:
            f.write(b"\n")
