import json

import pytest

from scnet.engine.json_lines import drop_half_line

WHOLE = '{"iteration": 19}\n{"iteration": 39}\n'


@pytest.mark.parametrize(
    "content, expected",
    [
        ("", ""),
        (WHOLE, WHOLE),
        (WHOLE + '{"iterat', WHOLE),
        ('{"iterat', ""),
        (WHOLE[:-1], WHOLE),  # only the end of the line is missing
    ],
)
def test_the_next_line_is_whole(tmp_path, content, expected):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    drop_half_line(str(path))
    assert path.read_text() == expected
    with path.open("a") as f:
        f.write('{"iteration": 59}\n')
    assert [json.loads(x) for x in path.read_text().splitlines()][-1] == {"iteration": 59}


def test_there_need_be_no_file(tmp_path):
    drop_half_line(str(tmp_path / "metrics.json"))
    assert not list(tmp_path.iterdir())
