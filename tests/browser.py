"""Looking at pages and videos in a real browser, Chromium, without a window or a network."""

import base64
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOOK = """<!DOCTYPE html>
<iframe src="%s" style="border: 0; height: 900px; width: %dpx"></iframe>
<script>
onload = () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const all = selector => [...page.querySelectorAll(selector)];
  const sides = x => [x.getBoundingClientRect().width, x.getBoundingClientRect().height];
  const style = frame.contentWindow.getComputedStyle(page.body);
  const found = {
    title: page.title,
    colors: [style.backgroundColor, style.color],
    ink: all("svg text").map(x => frame.contentWindow.getComputedStyle(x).fill)[0],
    width: page.documentElement.scrollWidth,
    drawings: all("svg").filter(x => x.checkVisibility()).map(sides),
    texts_in_drawings: all("svg text").map(x => x.textContent),
    images: all("img").map(x => [x.getAttribute("src").slice(0, 60), x.naturalWidth]),
    scripts: all("script").map(x => x.textContent.trim().split("\\n")[0]),
    handlers: all("*").filter(x => [...x.attributes].some(y => y.name.startsWith("on"))).length,
    tables: all("table").map(x => [...x.rows].map(y => [...y.cells].map(z => z.textContent))),
    classes_of_tables: all("table").map(x => x.className),
    headings: all("h1, h2, h3").map(x => x.textContent),
    text: page.body.innerText,
    fetched: frame.contentWindow.performance.getEntriesByType("resource").map(x => x.name),
  };
  document.body.textContent = JSON.stringify(found);
};
</script>
"""
PLAY = """<!DOCTYPE html>
<body><video muted src="data:video/mp4;base64,%s"></video>
<script>
const video = document.querySelector("video"), canvas = document.createElement("canvas");
const tell = found => { document.body.textContent = JSON.stringify(found); };
video.onerror = () => tell({error: video.error.message});
video.ontimeupdate = () => {
  if (video.currentTime < %s) return;
  video.ontimeupdate = null;
  video.pause();
  video.currentTime = %s;
};
video.onseeked = () => {
  const [width, height] = [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const color = canvas.getContext("2d").getImageData(width / 2, height / 2, 1, 1).data;
  tell({width, height, pixel: [...color].slice(0, 3), duration: video.duration});
};
video.play();
</script>
"""


@dataclass
class Page:
    """What a person would see of a page.

    Attributes:
        found: see the script above.
    """

    found: Dict[str, Any]

    def __getattr__(self, name):
        return self.found[name]

    def table(self, classes):
        """The rows of the table with these classes, a list of the texts of the cells each."""
        return self.tables[self.classes_of_tables.index(classes)]


def look_at(path: Path, folder: Path, width: int = 1200, dark: bool = False) -> Page:
    """Open a page, and read what is in it when it is drawn.

    Args:
        path: of the html file.
        folder: for files of the browser.
        width: of the page in pixels.
        dark: the user likes dark pages.
    """
    outside = folder / "look.html"
    outside.write_text(LOOK % (path.resolve().as_uri(), width))
    size = f"--window-size={width + 50},1000"
    colors = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    return Page(_told_by(outside, folder, size, colors))


def play(path: Path, folder: Path, until: float) -> Dict[str, Any]:
    """Play an mp4 until a time in seconds, and look at it then.

    Returns:
        its width, height and duration, and the pixel in its middle (red, green, blue); or the error
        of the browser.
    """
    page = folder / "play.html"
    page.write_text(PLAY % (base64.b64encode(path.read_bytes()).decode(), until, until))
    return _told_by(page, folder, "--virtual-time-budget=20000")


def _told_by(page: Path, folder: Path, *options: str) -> Dict[str, Any]:
    """Open a page in the browser, and read the json that its script leaves as its only text."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    output = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--allow-file-access-from-files", f"--user-data-dir={folder / 'browser'}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", *options, page.as_uri()),
        ],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    body = re.search(r"<body>(.*)</body>", output, re.DOTALL)
    assert body and body[1].startswith("{"), output[-2000:]
    return json.loads(html.unescape(body[1]))
