"""Pages that users get, looked at in a browser: they are drawn, nothing is fetched, names are text.

What check_dataset.py leaves is Markdown and a PNG, which no browser draws.
"""

import json
import shutil
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, look_at
from scnet.engine.report.write import report_results
from scnet.inference.comparison import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"
    ),
]

IMAGE, SCRIPT = (
    "<img src=x.png onerror=document.title='run'>",
    "<script>document.title='run'</script>",
)
NAMES = (IMAGE, SCRIPT, "$a_{&b")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report on a set whose names of classes and of files are html, and the metrics."""
    folder = tmp_path_factory.mktemp("report")
    file_names = ["<b onclick=run()>&amp;.png", "2.png"]
    box, polygon = [10, 10, 50, 50], [[10, 10, 60, 10, 60, 60, 10, 60]]
    content = {
        "images": [
            {"id": k, "file_name": name, "height": 80, "width": 100}
            for k, name in enumerate(file_names)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES)],
        "annotations": [
            {"id": k, "image_id": k // 2, "category_id": k % 3, "bbox": box, "area": 2500}
            for k in range(4)
        ],
    }
    for x in content["annotations"]:
        x.update(segmentation=polygon, iscrowd=0)
    found = [
        {"image_id": 0, "category_id": 0, "bbox": box, "segmentation": polygon, "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": box, "segmentation": polygon, "score": 0.6},
    ]
    for name, data in (("set.json", content), ("<i>.json", found)):
        (folder / name).write_text(json.dumps(data))
    for name in file_names:
        pixels = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    path = folder / "report.html"
    metrics = report_results(*(str(folder / x) for x in ("set.json", "", "<i>.json", path.name)))
    return path, metrics


@pytest.fixture
def browser(tmp_path):
    return lambda path, **options: look_at(path, tmp_path, **options)


def test_the_report_in_a_browser(browser, report):
    path, metrics = report
    page = browser(path)
    assert page.title == "Report on <i>.json"  # nothing has run
    assert page.scripts == [] and page.handlers == 0 and page.fetched == []
    assert {address.split(",")[0] for address, _ in page.images} == {"data:image/jpeg;base64"}
    assert all(width > 100 for _, width in page.images) and len(page.images) == 4
    # Names are text: in tables, in the drawings and below the pictures.
    for table in ("classes segm", "thresholds segm"):
        assert [row[0] for row in page.table(table)[1:]] == list(NAMES)
    assert page.table("matrix")[0] == ["", *NAMES, "missed"]
    assert set(NAMES) < set(page.texts_in_drawings)
    assert "<b onclick=run()>&amp;.png" in page.text
    # The curves of masks are drawn; those of boxes wait behind a click.
    assert len(page.drawings) == 2 and all(w > 300 and h > 150 for w, h in page.drawings)
    [_, masks, boxes] = page.table("overall")
    assert masks[1] == f"{metrics['segm']['AP']:.1f}" and boxes[0] == "Boxes"


@pytest.mark.parametrize("width, dark", [(380, False), (1200, True)])
def test_narrow_and_dark(browser, report, width, dark):
    """A phone has no need to scroll sideways, and the colours are those that the user likes."""
    page = browser(report[0], width=width, dark=dark)
    assert page.width <= width
    back, text = (sum(map(int, x[4:-1].split(","))) / 3 for x in page.colors)
    assert (back < 60 and text > 200) if dark else (back > 240 and text < 80)
    assert page.ink == page.colors[1]  # the axes of the drawings have the colour of the text


def test_the_page_of_a_comparison_in_a_browser(browser, report, tmp_path):
    """It shows one picture at a time; its script is the only one that runs."""
    shutil.copy(report[0].parent / "2.png", tmp_path / f"{SCRIPT.replace('/', '')}.png")
    shutil.copy(report[0].parent / "2.png", tmp_path / "b.png")
    rows = [
        {"picture": f"{SCRIPT.replace('/', '')}.png", "detections": {IMAGE: 3, "two": 4}},
        {"picture": "b.png", "detections": {IMAGE: 1, "two": 2}},
    ]
    write_page(str(tmp_path / "index.html"), rows, 0.5)
    page = browser(tmp_path / "index.html")
    assert page.title == f"Comparison of {IMAGE}, two"
    assert page.handlers == 0 and len(page.scripts) == 1
    assert page.scripts[0].startswith("// Without this script")
    assert page.images[0][1] == 100
    assert f"{IMAGE}: 3, two: 4" in page.text and "two: 2" not in page.text
    here = tmp_path.as_uri()
    assert all(address.startswith(here) for address in page.fetched)
    assert [address for address, _ in page.images] == [
        f"{quote(name)}.png" for name in (SCRIPT.replace("/", ""), "b")
    ]
