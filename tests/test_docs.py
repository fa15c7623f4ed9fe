"""The commands of the documentation are understood, its links and paths lead somewhere."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY
from scnet import get_cfg
from scnet_tools.train_net import argument_parser

DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
TOOLS = REPOSITORY / "projects/SCNet/tools"


def commands(document: Path):
    """The commands that start train_net.py or a tool, as lists of words."""
    text = document.read_text().replace("\\\n", " ")
    for line in re.findall(r"^ *[^`|\n]*?\bpython (\S+\.py .*)$", text, re.MULTILINE):
        line = re.sub(r"\$\w+", "1", line.removesuffix(" ..."))  # the variable of a loop
        yield shlex.split(line, comments=True)


def parse(words):
    script, *arguments = words
    if script == "train_net.py":
        return argument_parser().parse_args(arguments)
    tool = importlib.import_module(f"scnet_tools.{Path(script).stem}")
    assert (REPOSITORY / script).samefile(tool.__file__)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        return tool.parse_args()


ALL = [(d.name, words) for d in DOCUMENTS for words in commands(d)]


@pytest.mark.parametrize("words", [w for _, w in ALL], ids=[f"{d}-{w[0]}" for d, w in ALL])
def test_command(words):
    try:
        args = parse(words)
    except SystemExit:
        pytest.fail(f"not understood: {' '.join(words)}")
    cfg = get_cfg()
    cfg.merge_from_list(getattr(args, "opts", []))  # the keys exist, the values fit
    files = getattr(args, "config_file", None) or []
    for file in [files] if isinstance(files, str) else files:
        if file.startswith("projects/"):
            assert (REPOSITORY / file).is_file()


def test_every_tool_has_a_command():
    tools = {t.name for t in TOOLS.glob("*.py") if "\ndef main(" in t.read_text()}
    shown = {Path(words[0]).name for document, words in ALL if document == "tools.md"}
    assert tools - {"train_net.py"} == shown


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
