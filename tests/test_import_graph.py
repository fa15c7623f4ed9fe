"""The package keeps the order of its rooms; and import_graph.py sees what breaks it."""

import pytest

from import_graph import ImportGraph


@pytest.fixture(scope="module")
def graph():
    return ImportGraph()


def test_no_import_goes_up(graph):
    assert graph.going_up() == []


def test_no_import_is_hidden_in_a_function(graph):
    assert graph.hidden_in_functions() == []


def test_no_modules_import_each_other_in_a_circle(graph):
    assert graph.circle() == []


@pytest.fixture
def make_graph(tmp_path):
    """make_graph({path: code}): the graph of a small project with these files in it, too."""
    project = {
        "scnet/__init__.py": "from .modeling import net",
        "scnet/config.py": "",
        "scnet/data/__init__.py": "from .mapper import Mapper",
        "scnet/data/mapper.py": "from ..modeling import net\nfrom . import masks",
        "scnet/data/masks.py": "from ..config import get_cfg",
        "scnet/engine/hooks/stop.py": "from ...data import masks",
        "scnet/modeling/__init__.py": "",
        "scnet/modeling/net.py": "import torch",
        "tools/__init__.py": "",
        "tools/predict.py": "def main():\n    from scnet import config\n    from . import draw",
        "tools/draw.py": "",
        "scripts/draw.py": "",
        "scripts/tables.py": "import draw",
    }

    def make(files):
        for name, code in {**project, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        return ImportGraph(tmp_path)

    return make


def test_a_project_in_order(make_graph):
    """Tools may import inside of functions."""
    graph = make_graph({})
    assert not graph.going_up() and not graph.hidden_in_functions() and not graph.circle()
    rows = [line.split(maxsplit=3) for line in graph.table().splitlines()]
    assert ["data", "3", "4", "modeling 1, ground floor 1"] in rows
    assert ["engine", "1", "1", "data 1"] in rows
    assert ["tools", "5", "4", "ground floor 1"] in rows


@pytest.mark.parametrize(
    "path, code, target",
    [
        ("scnet/modeling/net.py", "from ..data import masks", "scnet.data.masks"),
        ("scnet/modeling/net.py", "from ..data.masks import decode", "scnet.data.masks"),
        ("scnet/modeling/net.py", "import scnet.data.masks as m", "scnet.data.masks"),
        ("scnet/modeling/__init__.py", "from ..data import Mapper", "scnet.data"),
        ("scnet/config.py", "from .modeling import net", "scnet.modeling.net"),
        ("scnet/data/masks.py", "from .. import get_cfg", "scnet"),
        ("scnet/engine/hooks/stop.py", "from scnet_tools import predict", "scnet_tools.predict"),
        ("scnet/engine/hooks/stop.py", "from tables import rows", "tables"),
        (
            "scnet/__init__.py",
            "if True:\n    from .engine.hooks import stop",
            "scnet.engine.hooks.stop",
        ),
        (
            "scnet/data/masks.py",
            "def f():\n    import scnet.engine.hooks.stop",
            "scnet.engine.hooks.stop",
        ),
    ],
)
def test_an_import_that_goes_up_is_seen(make_graph, path, code, target):
    (found,) = make_graph({path: code}).going_up()
    assert f"{path}:{code.count(chr(10)) + 1}: " in found
    assert f" imports {target}, " in found


@pytest.mark.parametrize(
    "code",
    ["def f():\n    import json", "class A:\n    async def f(self):\n        from . import mapper"],
)
def test_a_hidden_import_is_seen(make_graph, code):
    (found,) = make_graph({"scnet/data/masks.py": code}).hidden_in_functions()
    assert f"scnet/data/masks.py:{code.count(chr(10)) + 1}: scnet.data.masks imports " in found


def test_optional_extras_may_be_imported_in_functions(make_graph):
    code = "def f():\n    import onnx\n    from onnxruntime.capi import x"
    assert not make_graph({"scnet/data/masks.py": code}).hidden_in_functions()


@pytest.mark.parametrize(
    "path, code, circle",
    [
        ("scnet/data/masks.py", "from .mapper import M", ["scnet.data.mapper", "scnet.data.masks"]),
        (
            "scnet/data/masks.py",
            "from . import decode",
            ["scnet.data", "scnet.data.mapper", "scnet.data.masks"],
        ),
        # The import of scnet.data.masks runs scnet/data/__init__.py before.
        (
            "scnet/modeling/net.py",
            "import scnet.data.masks",
            ["scnet.data", "scnet.data.mapper", "scnet.modeling.net"],
        ),
    ],
)
def test_a_circle_is_seen(make_graph, path, code, circle):
    found = make_graph({path: code}).circle()
    assert found[0] == found[-1]
    start = found.index(circle[0])
    assert found[start:-1] + found[:start] == circle


def test_a_folder_that_is_no_room_is_named(make_graph):
    graph = make_graph(
        {"scnet/utilities/misc.py": "", "scnet/data/masks.py": "from ..utilities import misc"}
    )
    with pytest.raises(ValueError, match="utilities/misc.py is in none of the rooms"):
        graph.going_up()
