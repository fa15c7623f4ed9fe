"""Collecting what is wrong with data sets, and raising it as one error."""

from collections import defaultdict
from typing import DefaultDict, List, Mapping, Set

EXAMPLES = 5


class Report:
    """Collects messages by kind.

    Errors make training fail or learn something wrong. Notes are about what training copes with.
    A message is a whole sentence that names the file, the image or the annotation and says what
    to do; the kind is a short title for all messages that differ only in where.

    Attributes:
        errors, notes: messages by kind.
        noted_images: paths of the images that notes are about.
    """

    def __init__(self) -> None:
        self.errors: DefaultDict[str, List[str]] = defaultdict(list)
        self.notes: DefaultDict[str, List[str]] = defaultdict(list)
        self.noted_images: Set[str] = set()

    def error(self, kind: str, message: str) -> None:
        """Add an error."""
        self.errors[kind].append(message)

    def note(self, kind: str, message: str, *images: str) -> None:
        """Add a note, perhaps about images with these paths."""
        self.notes[kind].append(message)
        self.noted_images.update(images)

    def merge(self, other: "Report") -> None:
        """Add the messages of another report."""
        for mine, theirs in ((self.errors, other.errors), (self.notes, other.notes)):
            for kind, messages in theirs.items():
                mine[kind] += messages
        self.noted_images |= other.noted_images

    def raise_errors(self) -> None:
        """Raise the errors as one, if there are any.

        Raises:
            ValueError: there are errors. The first line is the first message; of each kind a few
                examples follow.
        """
        if not self.errors:
            return
        lines = shorten(self.errors)
        if len(lines) > 1 or sum(map(len, self.errors.values())) > 1:
            lines.append("'scnet check' reports all of them.")
        raise ValueError("\n".join(lines))


def shorten(messages: Mapping[str, List[str]]) -> List[str]:
    """Choose a few messages of each kind, and say how many more there are, in lines of text."""
    lines: List[str] = []
    for kind, of_kind in messages.items():
        lines += of_kind[:EXAMPLES]
        if len(of_kind) > EXAMPLES:
            lines.append(f"... and {len(of_kind) - EXAMPLES} more of this kind: {kind}.")
    return lines
