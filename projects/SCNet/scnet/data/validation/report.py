"""What a check of a data set has found."""

from collections import defaultdict
from typing import DefaultDict, List

EXAMPLES = 5


class Report:
    """Messages by kind. Errors make training fail or learn something wrong; notes are handled.

    A message is a whole sentence that names the file, the image or the annotation and says what
    to do; the kind is a short title for all messages that differ only in where.
    """

    def __init__(self) -> None:
        self.errors: DefaultDict[str, List[str]] = defaultdict(list)
        self.notes: DefaultDict[str, List[str]] = defaultdict(list)

    def error(self, kind: str, message: str) -> None:
        self.errors[kind].append(message)

    def note(self, kind: str, message: str) -> None:
        self.notes[kind].append(message)

    def merge(self, other: "Report") -> None:
        """Add what another report has."""
        for mine, theirs in ((self.errors, other.errors), (self.notes, other.notes)):
            for kind, messages in theirs.items():
                mine[kind] += messages

    def raise_errors(self) -> None:
        """
        Raises:
            ValueError: there are errors. The first line is the first message; of each kind a few
                examples follow.
        """
        if not self.errors:
            return
        lines = summary(self.errors)
        if len(lines) > 1 or sum(map(len, self.errors.values())) > 1:
            lines.append("projects/SCNet/tools/check_dataset.py reports all of them.")
        raise ValueError("\n".join(lines))


def summary(messages: DefaultDict[str, List[str]]) -> List[str]:
    """Lines of text: of each kind a few messages and how many more there are."""
    lines = []
    for kind, of_kind in messages.items():
        lines += of_kind[:EXAMPLES]
        if len(of_kind) > EXAMPLES:
            lines.append(f"... and {len(of_kind) - EXAMPLES} more of this kind: {kind}.")
    return lines
