"""Files with a json value per line, which a process that is killed may leave with half a line."""

import json
import os
from typing import Dict, List


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


def read_lines(path: str) -> List[Dict]:
    """Read what a file has so far; half a last line is left out.

    Args:
        path: of the file; need not exist.

    Raises:
        ValueError: a line before the last is no json; the message names it.
    """
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f"Line {number} of '{path}' is no json: {error}.") from error
    return found
