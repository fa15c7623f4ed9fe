import subprocess
import sys
import zipfile

import pytest

from scnet.config import CONFIG_DIR

pytestmark = pytest.mark.slow


def test_a_wheel_carries_the_configs(repository, tmp_path):
    """An editable install would not notice if they were missing."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        + ["--wheel-dir", str(tmp_path), str(repository)],
        check=True,
    )
    (wheel,) = tmp_path.glob("scnet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in CONFIG_DIR.rglob("*.yaml"):
        assert f"scnet/configs/{path.relative_to(CONFIG_DIR)}" in names
    assert "scnet/modeling/cascade.py" in names
    assert not any(name.startswith(("tools", "tests")) for name in names)


def test_it_can_be_imported_from_anywhere(tmp_path):
    code = "import scnet; print(scnet.get_config_file('quickstart.yaml'))"
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        check=True,
        text=True,
        capture_output=True,
    ).stdout
    assert out.strip().endswith("configs/quickstart.yaml")
