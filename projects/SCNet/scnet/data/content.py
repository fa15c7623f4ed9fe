"""The content of a COCO json file as the checks, the training and the evaluation read it."""

from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from .canonical_form import CanonicalForm, PlainAnnotation
from .coco_file import Content, Entry, Id, decode, is_id, read_coco_file
from .collector import paused_collector
from .image_names import find_images

RUN = 256  # annotations that are made at a time; they fit in the cache of a processor

Annotation = Union[PlainAnnotation, Dict]


class Reading(NamedTuple):
    """How the json file of a data set is to be read.

    Attributes:
        crowds_are_objects: see DATASETS.CROWDS_ARE_OBJECTS.
        classes_left_out: see DATASETS.CLASSES_LEFT_OUT.
    """

    crowds_are_objects: Optional[bool] = None
    classes_left_out: Tuple[str, ...] = ()


AS_IT_IS = Reading()


class Run(NamedTuple):
    """Some annotations of a file, in their order.

    Attributes:
        annotations: in COCO's forms; those like almost all of a good file are no dicts, which is
            fast. Both have ``get`` for the keys of :class:`PlainAnnotation`.
        entries: each as it takes little memory, for :func:`scnet.data.coco_file.decode`.
    """

    annotations: List[Annotation]
    entries: List[Entry]


class OpenContent:
    """The content of a json file, with its values in COCO's forms and annotations made run by run.

    So memory has only the text of a large file, and the objects of one run. What has errors is in
    the content, too; :mod:`scnet.data.validation` reports them.

    Attributes:
        images, categories: the entries.
        parts: the other parts of the file, without the annotations.
        size: the number of annotations; None if the file has no such part.
        missing: names of images that no file has; empty if the folder is not known.
    """

    def __init__(
        self, json_file: str, image_root: Optional[str] = None, reading: Reading = AS_IT_IS
    ) -> None:
        """Read the images and categories.

        Args:
            json_file: in COCO's format for instances.
            image_root: the folder of the images. Where it is given, file names become those of the
                files; see :func:`find_images`.
            reading: the classes that are left out, and what crowds are.

        Raises:
            ValueError: see :func:`read_coco_file`; or there is no class of a name to leave out.
        """
        self.parts = read_coco_file(json_file)
        self._entries: Optional[List[Entry]] = self.parts.pop("annotations", None)
        self.size = None if self._entries is None else len(self._entries)
        self._form = CanonicalForm(self.parts.pop("images"), self.parts.pop("categories"))
        self.images, self.categories = self._form.images, self._form.categories
        self._crowds_are_objects = reading.crowds_are_objects
        self.missing: Set[str] = set()
        self._image_notes: List[str] = []
        self._names_left_out = reading.classes_left_out
        self._ids_left_out: Set[Id] = set()
        self._num_left_out = 0
        if image_root is not None:
            self.images, self.missing, self._image_notes = find_images(self.images, image_root)
        if self._names_left_out:
            self._leave_out_classes(json_file)

    def _leave_out_classes(self, json_file: str) -> None:
        names = self._names_left_out
        known = [x.get("name") for x in self.categories]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(
                f"DATASETS.CLASSES_LEFT_OUT names '{unknown[0]}', but '{json_file}' has the "
                f"classes {known[:20]}."
            )
        of_names = [x for x in self.categories if x.get("name") in names]
        self._ids_left_out = {x["id"] for x in of_names if is_id(x.get("id"))}
        self.categories = [x for x in self.categories if x.get("name") not in names]

    def runs(self) -> Iterator[Run]:
        """Make the annotations; once only."""
        entries, self._entries = self._entries or [], None
        for start in range(0, len(entries), RUN):
            yield self._run(entries[start : start + RUN])

    def _run(self, entries: List[Entry]) -> Run:
        annotations: List[Annotation] = []
        for k, plain in enumerate(self._form.read_plain(entries)):
            if plain and not (plain.iscrowd and self._crowds_are_objects):
                annotations.append(plain)
                continue
            annotation = decode(entries[k])
            new = self._form.convert(annotation)
            if self._crowds_are_objects and new.get("iscrowd") == 1:
                new = {**new, "iscrowd": 0}
            if new is not annotation:
                entries[k] = new
            annotations.append(new)
        if not self._ids_left_out:
            return Run(annotations, entries)
        kept = [x for x in zip(annotations, entries) if not self._is_left_out(x[0])]
        self._num_left_out += len(annotations) - len(kept)
        return Run([x for x, _ in kept], [x for _, x in kept])

    def _is_left_out(self, annotation: Annotation) -> bool:
        category = annotation.get("category_id")
        return is_id(category) and category in self._ids_left_out

    def notes(self) -> List[str]:
        """A sentence about each kind of change; they are complete after the last run."""
        notes = self._form.sentences() + self._image_notes
        if self._names_left_out:
            notes.append(
                f"Left out: the classes {list(self._names_left_out)}, with {self._num_left_out} "
                "annotations."
            )
        return notes


@paused_collector()
def read_content(json_file: str, reading: Reading = AS_IT_IS) -> Tuple[Content, List[str]]:
    """Read a json file with all its annotations.

    Returns:
        the content, as in :class:`OpenContent`, and a sentence about each kind of change.

    Arguments and errors as for :class:`OpenContent`.
    """
    found = OpenContent(json_file, reading=reading)
    content = {**found.parts, "images": found.images, "categories": found.categories}
    if found.size is not None:
        content["annotations"] = [decode(x) for run in found.runs() for x in run.entries]
    return content, found.notes()
