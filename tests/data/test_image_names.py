"""Images whose names in the json differ from those of their files in known ways."""

import unicodedata

import pytest

from scnet.data.image_names import find_images

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Äpfel é.png") for form in ("NFC", "NFD"))


def find(folder, files, names):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_images([{"file_name": name} for name in names], str(folder))
    found_names = [x["file_name"] for x in found.images]
    assert found.missing == {name for name in found_names if not (folder / name).exists()}
    return found_names, found.notes


@pytest.mark.parametrize(
    "file, name, way",
    [
        (COMPOSED, DECOMPOSED, "Unicode"),
        (DECOMPOSED, COMPOSED, "Unicode"),
        ("a b.png", "a%20b.png", "URLs"),
        ("a%20b.png", "a b.png", "URLs"),
        ("sub/a.png", "sub/a.png?width=3#x", "URLs"),
        (DECOMPOSED, "%C3%84pfel%20%C3%A9.png?v=1", "URLs"),
        ("0a1b2c3d-a.png", "/data/upload/1/0a1b2c3d-a.png", "folder of Label Studio"),
        ("a b.png", "upload/1/0a1b2c3d-a%20b.png", "prefix of Label Studio"),
        ("images/0a1b2c3d-a.png", "a.png", "prefix of Label Studio"),
    ],
)
def test_they_are_found_and_named(tmp_path, file, name, way):
    assert COMPOSED != DECOMPOSED
    found, (note,) = find(tmp_path, [file, "b.png"], [name, "b.png"])
    assert found == [file, "b.png"]
    assert way in note and ascii(name) in note and ascii(file) in note


@pytest.mark.parametrize(
    "files, names",
    [
        (["a b.png", "a%20b.png"], ["a b.png?v=1"]),  # two files for a name
        (["a.png"], ["a.png?v=1", "a.png?v=2"]),  # two names for a file
        (["a.png"], ["a.png", "a.png?v=2"]),  # the file has its name already
        (["0a1b2c3d-a.png"], ["upload/ffffffff-a.png"]),  # two uploads of one name
        (["a.png"], ["11111111-a.png", "22222222-a.png"]),
        (["sub/a.png"], ["a.png"]),  # may be another image
        (["a.png"], ["A.png"]),
    ],
)
def test_what_would_be_a_guess_is_not_found(tmp_path, files, names):
    assert find(tmp_path, files, names) == (names, [])


def test_what_is_no_name_stays(tmp_path):
    (tmp_path / "a b.png").touch()
    odd = [{"file_name": ["a b.png"]}, {}, {"file_name": None}]
    found = find_images([*odd, {"file_name": "a%20b.png"}], str(tmp_path))
    assert found.images == [*odd, {"file_name": "a b.png"}] and not found.missing
