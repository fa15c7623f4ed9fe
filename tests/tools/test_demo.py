"""`scnet demo`: who reaches the page, several visitors, and the page in a browser."""

import re
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata
from detectron2.modeling import build_model

from browser import CHROMIUM
from devtools import open_tab
from helpers import NAMES, TINY, free_port
from scnet import Predictor, get_cfg, get_config_file
from scnet.inference.demo_page import LOWEST, Demo
from scnet_tools import demo as tool

pytest.importorskip("gradio", reason="needs the extra 'demo' (Gradio)")
pytestmark = pytest.mark.slow

IS_LOADED = "!document.body.innerText.includes('Loading') && !!document.querySelector('#table')"
SENTENCE = "document.querySelector('#result textarea, #result input')?.value"
ROWS = """[...document.querySelectorAll('#table [role=row][data-index]')]
    .map(x => [...x.querySelectorAll('[role=gridcell]')].map(y => y.innerText.trim()))"""
PICTURE = "[...document.querySelectorAll('img')].find(x => x.src.includes('/file='))"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A tiny model of five classes, whose scores are low, with the config beside it."""
    folder = tmp_path_factory.mktemp("run")
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("quickstart.yaml"))
    cfg.merge_from_list(TINY)
    torch.manual_seed(0)
    model = build_model(cfg)
    stuff = [f"stuff {k}" for k in range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)]
    model.metadata = Metadata(thing_classes=NAMES, stuff_classes=stuff)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "model.pth"


@pytest.fixture(scope="module")
def address(weights):
    """The page of a process of its own, which Ctrl-C ends without a trace."""
    port = free_port()
    command = [sys.executable, "-u", "-m", "scnet_tools", "demo", "--weights", str(weights)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--threshold", str(LOWEST)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("Open "):
            break
    try:
        assert f"Open http://127.0.0.1:{port}/ " in said and "no password" not in said, said
        assert "Tabs: Instances, Semantic map, Image scores." in said
        yield f"http://127.0.0.1:{port}/"
        cache = Path(re.search(r"kept in (\S+) for", said)[1])
        assert any(path.is_file() for path in cache.rglob("*"))
    finally:
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[0]
    assert process.returncode == 0 and "Traceback" not in rest
    assert not cache.exists()


@pytest.fixture
def tab(address, tmp_path):
    with open_tab(address, tmp_path) as tab:
        tab.wait_for(IS_LOADED)
        yield tab


def drop(tab, path):
    """Drop a file where the page asks for it."""
    place = tab.wait_for(
        """(() => {
            const all = [...document.querySelectorAll("button")];
            const box = all.find(x => x.innerText.includes("Drop"))?.getBoundingClientRect();
            return box && [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
    )
    tab.drop(path, *place)


def open_part(tab, name):
    tabs = "[...document.querySelectorAll('[role=tab]')]"
    tab.run(f"{tabs}.find(x => x.innerText == '{name}').click()")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_a_photo_in_a_browser(tab, address, shared):
    """It is dropped; a higher threshold shows less; the tabs open; no other host is asked."""
    drop(tab, shared / "photos" / "coco_000000011149.jpg")
    assert "objects in 500 x 375 pixels" in tab.wait_for(SENTENCE)
    assert tab.wait_for(f"{PICTURE}?.naturalWidth") >= 500
    rows = tab.wait_for(f"(rows => rows.length && rows)({ROWS})")
    assert len(rows) > 2 and all(row[0] in NAMES and float(row[1]) > LOWEST for row in rows)

    before = tab.run(f"{PICTURE}.src")
    tab.run("document.querySelector('input[type=range]').focus()")
    tab.press("End", 35)  # to the highest threshold
    tab.wait_for(f"{SENTENCE}.startsWith('0 of ')")
    tab.wait_for(f"{ROWS}.length == 0 && {PICTURE}.src != '{before}'")
    open_part(tab, "Semantic map")
    legend = "[...document.querySelectorAll('.legend-item')].map(x => x.innerText).join()"
    assert "stuff" in tab.wait_for(legend)
    open_part(tab, "Image scores")
    tab.wait_for(" && ".join(f"document.body.innerText.includes('{name}')" for name in NAMES))
    others = [x for x in tab.requested if not x.startswith((address, "data:", "blob:"))]
    assert others == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_what_cannot_be_used_is_said_on_the_page(tab, tmp_path):
    path = tmp_path / "<b>deep.png"
    cv2.imwrite(str(path), np.ones((40, 50), np.uint16))
    drop(tab, path)
    assert "deep.png' has more than 8 bits" in tab.wait_for(SENTENCE)
    assert tab.run(f"{PICTURE} === undefined && {ROWS}.length == 0")


def test_visitors_wait_for_each_other(weights, tmp_path):
    """There is one prediction at a time; each visitor sees the objects of the own image."""
    from gradio_client import Client, handle_file

    demo, running, most = Demo(Predictor(str(weights), threshold=LOWEST, masks="rle")), [], []
    predict = demo.predictor.with_context

    def slowly(frame):
        running.append(frame)
        most.append(len(running))
        time.sleep(0.5)
        running.remove(frame)
        return predict(frame)

    demo.predictor.with_context = slowly
    paths = [str(tmp_path / f"{k}.png") for k in range(3)]
    for k, path in enumerate(paths):
        cv2.imwrite(path, np.full((60, 70 + k, 3), 99, np.uint8))
    page = demo.page()
    _, address, _ = page.launch(
        server_port=free_port(), prevent_thread_lock=True, quiet=True, share=False
    )
    try:
        jobs = [
            Client(address, verbose=False).submit(handle_file(p), LOWEST, [], api_name="/look")
            for p in paths
        ]
        sentences = [job.result()[0] for job in jobs]
    finally:
        page.close(verbose=False)
    assert most == [1, 1, 1]
    assert all(f"in {70 + k} x 60 pixels" in sentences[k] for k in range(3))


@pytest.fixture
def start(weights, monkeypatch, capsys):
    """Start the command within this process, and return what it says; it ends at once."""

    def start(*args):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(sys, "argv", ["scnet demo", "--weights", str(weights), *args])
        monkeypatch.setattr(tool, "time", Namespace(sleep=interrupt))
        tool.main()
        return capsys.readouterr().out

    return start


def test_who_reaches_the_page_is_said(start):
    said = start("--host", "0.0.0.0", "--port", str(free_port()))
    assert "Everyone who reaches 0.0.0.0" in said and "no password" in said


def test_mistakes_in_the_command(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=f"port {port}: give another --host or --port"):
            start("--port", port)
    with pytest.raises(SystemExit, match="--threshold must be from 0.05 to 1, not 0.01"):
        start("--threshold", "0.01")
