"""The commands of the documentation are understood, its links and paths lead somewhere."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY
from scnet import get_cfg
from scnet.config import find_config
from scnet_tools import train_net
from scnet_tools.__main__ import COMMANDS

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]


def commands(document: Path):
    """The commands that start train_net.py or a tool, as lists of words."""
    text = document.read_text().replace("\\\n", " ")
    start = r"^ *[^`|\n]*?\b(?:python (?=\S+\.py )|(?<!from )(?=scnet \S+ ))"
    for line in re.findall(rf"{start}(.*)$", text, re.MULTILINE):
        line = re.sub(r"\$\w+", "1", line.removesuffix(" ..."))  # the variable of a loop
        yield shlex.split(line, comments=True)


def parse(words):
    script, *arguments = words
    if script == "scnet":
        name, *arguments = arguments
        tool = importlib.import_module(f"scnet_tools.{COMMANDS[name][0]}")
    elif script == "train_net.py":
        tool = train_net
    else:
        tool = importlib.import_module(f"scnet_tools.{Path(script).stem}")
        assert (REPOSITORY / script).samefile(tool.__file__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments])
        return tool.argument_parser().parse_args() if tool is train_net else tool.parse_args()


ALL = [(d.name, words) for d in DOCUMENTS for words in commands(d)]


@pytest.mark.parametrize(
    "words",
    [w for _, w in ALL],
    ids=[f"{d}-{' '.join(w[:2]) if w[0] == 'scnet' else w[0]}" for d, w in ALL],
)
def test_command(words):
    try:
        args = parse(words)
    except SystemExit:
        pytest.fail(f"not understood: {' '.join(words)}")
    cfg = get_cfg()
    cfg.merge_from_list(getattr(args, "opts", []))  # the keys exist, the values fit
    files = getattr(args, "config_file", None) or []
    for file in [files] if isinstance(files, str) else files:
        if not file.startswith(("output/", "my/")):  # what the reader has
            assert (REPOSITORY / file).is_file() or find_config(file)


def test_every_command_is_shown():
    shown = {words[1] for document, words in ALL if document == "tools.md"}
    assert shown == COMMANDS.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=[d.name for d in DOCUMENTS])
def test_links(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), target
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if heading else [""]
        anchors = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
        assert heading in anchors, target


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths(name):
    """Files and folders of the repository, or of the package, that are named as code."""
    text = (REPOSITORY / name).read_text()
    paths = [p for p in re.findall(r"`(\w+(?:/\w+)*(?:/|\.\w+))`", text) if "NAME" not in p]
    paths = [p for p in paths if p.endswith(("/", ".py", ".yaml", ".md"))]
    assert paths
    for path in paths:
        assert any((REPOSITORY / at / path).exists() for at in (".", "projects/SCNet/scnet")), path


def test_the_site_builds(run, tmp_path):
    """As ``make docs`` does: a broken link, or a page that no menu has, is an error."""
    run("-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path)
    assert (tmp_path / "architecture/index.html").is_file()
