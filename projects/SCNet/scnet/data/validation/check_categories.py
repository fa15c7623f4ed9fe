"""Checks of the categories of a COCO json file."""

from collections import Counter
from typing import Dict, List, Set

from ..coco_file import Id, cut, is_id, kind_of_ids
from .report import Report


def check_categories(categories: List[Dict], json_file: str, report: Report) -> List[Dict]:
    """Report what is wrong with categories.

    Args:
        categories: of the file.
        json_file: the file, for the messages.
        report: gets errors and notes.

    Returns:
        the categories without errors, each with an "id" and a "name" of its own, by their ids.
        The k-th is the class k.
    """
    where = f"'{json_file}'"
    usable: Dict[Id, Dict] = {}
    names = set()
    if not categories:
        report.error(
            "no categories",
            f"{where} has no categories. Add the classes. (VIA writes those that are options of an "
            "attribute of the regions.)",
        )
    for category in categories:
        number, name = category.get("id"), category.get("name")
        if not is_id(number) or not isinstance(name, str) or not name:
            report.error(
                "category without id or name",
                f"{where}: category {cut(category)} needs an 'id', integer or text, and a 'name'.",
            )
        elif usable and kind_of_ids([number]) != kind_of_ids(usable):
            report.error(
                "ids of two kinds",
                f"{where}: category '{name}' has the id {number!r}, but the id of another is "
                f"{next(iter(usable))!r}. All must be integers, or all text.",
            )
        elif number in usable:
            report.error(
                "two categories with one id",
                f"{where}: the categories '{usable[number]['name']}' and '{name}' both "
                f"have the id {number}. Give each its own.",
            )
        elif name in names:
            report.error(
                "two categories with one name",
                f"{where}: two categories are named '{name}'. Rename one, or join them.",
            )
        else:
            usable[number] = category
            names.add(name)
    ids = sorted(usable)
    if ids and ids != list(range(1, len(ids) + 1)):
        report.note(
            "category ids with gaps",
            f"{where}: the category ids are not 1 to {len(ids)}. They are mapped to the "
            f"classes 0 to {len(ids) - 1} in training, and back in results.",
        )
    return [usable[number] for number in ids]


def root_classes(categories: List[Dict]) -> Set[str]:
    """Find the names of classes that are the "supercategory" of all other classes."""
    parents = [x.get("supercategory") for x in categories]
    counts = Counter(x for x in parents if isinstance(x, str))
    others = len(categories) - 1
    return {
        x["name"]
        for x, parent in zip(categories, parents)
        if 0 < others == counts[x["name"]] - (parent == x["name"])
    }
