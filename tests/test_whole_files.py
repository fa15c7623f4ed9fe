"""Files that are written replace links, and leave what these lead to as it is."""

import pytest

from scnet.engine.evaluation.results import write_results
from scnet.whole_files import whole_file


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine").write_text("mine")
    return tmp_path / "mine"


@pytest.mark.parametrize("names", [("results.json", "results.md"), (".results.part.json",), ()])
def test_results_replace_links(tmp_path, mine, names):
    for name in names:
        (tmp_path / name).symlink_to(mine)
    for _ in range(2):  # also results that are there
        write_results({"data": {"bbox": {"AP": 50.0}}}, str(tmp_path))
    assert mine.read_text() == "mine"
    assert "50.0" in (tmp_path / "results.json").read_text()
    assert sorted(x.name for x in tmp_path.iterdir()) == ["mine", "results.json", "results.md"]


def test_what_is_not_whole_is_not_there(tmp_path, mine):
    with pytest.raises(ZeroDivisionError), whole_file(str(mine)) as f:
        f.write("half")
        f.write(str(1 / 0))
    assert mine.read_text() == "mine"
    with whole_file(str(mine)) as f:
        f.write("whole")
    assert mine.read_text() == "whole"
