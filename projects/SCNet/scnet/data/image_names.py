"""Finding image files whose names are written in another way in a COCO json file."""

import os
import re
from collections import Counter, defaultdict
from typing import Callable, DefaultDict, Dict, List, NamedTuple, Set, Tuple
from unicodedata import normalize
from urllib.parse import unquote

Form = Callable[[str], str]
LABEL_STUDIO = re.compile(r"[0-9a-f]{8}-")  # what it puts before the names of uploaded files


class Found(NamedTuple):
    """The images of a json file, as their files are.

    Attributes:
        images: the entries, with the names of the files.
        missing: names in them that no file has.
        notes: a sentence for each way of writing in which names differed.
    """

    images: List[Dict]
    missing: Set[str]
    notes: List[str]


def find_images(images: List[Dict], image_root: str) -> Found:
    """Correct file names that differ from those of the files in a way that tools are known for.

    These are the encoding of URLs ("a%20b.jpg"), the query of one ("a.jpg?v=1"), another Unicode
    form of the same letters, and the folder and prefix of Label Studio ("upload/1a2b3c4d-a.jpg").
    A file that two names may stand for is taken for neither.

    Args:
        images: entries of the json file.
        image_root: the folder that the file names start from.
    """
    names = (x["file_name"] for x in images if isinstance(x.get("file_name"), str))
    missing = {name for name in names if not os.path.isfile(os.path.join(image_root, name))}
    if not missing:
        return Found(images, missing, [])
    files = [
        os.path.relpath(os.path.join(folder, name), image_root).replace(os.sep, "/")
        for folder, _, names in os.walk(image_root)
        for name in names
    ]
    taken = {x["file_name"] for x in images if isinstance(x.get("file_name"), str)}
    files = [x for x in files if x not in taken]
    found: Dict[str, str] = {}
    notes = []
    for way, of_name, of_file in WAYS:
        new = _match(missing - found.keys(), files, of_name, of_file)
        if new:
            name, file = min(new.items())
            notes.append(
                f"{len(new)} images have other names than their files: {way}, such as {name!a} "
                f"for the file {file!a}. They are read."
            )
        found.update(new)
    corrected = [
        {**x, "file_name": found[written]}
        if isinstance(written := x.get("file_name"), str) and written in found
        else x
        for x in images
    ]
    return Found(corrected, missing - found.keys(), notes)


def _match(names: Set[str], files: List[str], of_name: Form, of_file: Form) -> Dict[str, str]:
    """Pair names with files whose forms are the same, where both are the only ones."""
    by_form: DefaultDict[str, List[str]] = defaultdict(list)
    for file in files:
        if form := of_file(file):
            by_form[form].append(file)
    forms = {name: of_name(name) for name in names}
    counts = Counter(forms.values())
    return {
        name: by_form[form][0]
        for name, form in forms.items()
        if form and counts[form] == 1 and len(by_form.get(form, [])) == 1
    }


def _composed(name: str) -> str:
    return normalize("NFC", name)


def _decoded(name: str) -> str:
    return _composed(unquote(re.sub(r"[?#].*", "", name)))


def _uploaded(name: str) -> str:
    """The name without its folder if it has Label Studio's prefix; otherwise ""."""
    base = _decoded(name).rsplit("/", 1)[-1]
    return base if LABEL_STUDIO.match(base) else ""


def _without_prefix(name: str) -> str:
    return LABEL_STUDIO.sub("", _uploaded(name), count=1)


# What differs, and the forms in which the names in the json and of the files are compared; "" is
# compared with nothing.
WAYS: List[Tuple[str, Form, Form]] = [
    ("another Unicode form of the letters", _composed, _composed),
    ("the encoding of URLs", _decoded, _decoded),
    ("the folder of Label Studio", _uploaded, _uploaded),
    ("the prefix of Label Studio", _without_prefix, _decoded),
    ("the prefix of Label Studio", _decoded, _without_prefix),
]
