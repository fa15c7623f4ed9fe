"""TorchScript is a program: it is loaded if it was exported here, or if the user trusts it."""

import json
import warnings

import pytest
import torch

from scnet import Predictor
from scnet.export import load_exported, own_files, write_torchscript

METADATA = {
    "class_names": ["a"],
    "input_format": "RGB",
    "outputs": ["scores"],
    "min_size_test": 64,
    "max_size_test": 96,
}


class Writing(torch.nn.Module):
    """Makes a file when it runs."""

    def __init__(self, file_name: str):
        super().__init__()
        self.file_name = file_name

    def forward(self, image):
        return (torch.from_file(self.file_name, shared=True, size=4) + image.sum(),)


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made by the model"


@pytest.fixture
def program(tmp_path, made):
    path = str(tmp_path / "model.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(Writing(str(made)))
        torch.jit.save(script, path, _extra_files={"metadata.json": json.dumps(METADATA)})
    return path


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/scnet/exported"


@pytest.mark.parametrize("load", [load_exported, Predictor])
def test_a_program_from_elsewhere_is_not_loaded(program, made, monkeypatch, load):
    monkeypatch.setattr(torch.jit, "load", lambda *args, **kwargs: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match="model.ts' is a program.*ONNX.*MODEL.TRUST_WEIGHTS True"):
        load(program)
    assert not made.exists()


@pytest.mark.parametrize("load", [load_exported, Predictor])
def test_unless_it_is_trusted(program, made, load):
    model = load(program, trusted=True)
    if load is load_exported:
        model.run(torch.zeros(3, 4, 4), ["scores"])
        assert made.exists()  # so it is a program indeed


@pytest.mark.slow
def test_a_file_that_was_exported_here_is_loaded(make_detector, tmp_path, records):
    path, copy = tmp_path / "mine.ts", tmp_path / "copy.ts"
    write_torchscript(make_detector(), str(path), METADATA)
    assert load_exported(path).metadata["class_names"] == ["a"]
    copy.write_bytes(path.read_bytes())
    load_exported(copy)
    assert records.stat().st_mode & 0o777 == 0o700
    [record] = records.iterdir()
    record.unlink()
    with pytest.raises(ValueError, match="mine.ts' is a program"):
        load_exported(path)


def test_a_record_that_others_can_write_is_worth_nothing(program, records):
    own_files.remember(program)
    load_exported(program)
    records.chmod(0o777)
    with pytest.raises(ValueError, match="model.ts' is a program"):
        load_exported(program)
    records.chmod(0o700)
    records.rename(records.with_name("elsewhere"))
    records.symlink_to(records.with_name("elsewhere"))
    with pytest.raises(ValueError, match="model.ts' is a program"):
        load_exported(program)


def test_where_nothing_can_be_noted_it_says_so(program, records, caplog):
    records.parent.mkdir(parents=True)
    records.write_text("in the way")
    own_files.remember(program)
    assert "model.ts' was written here could not be noted" in caplog.text
    with pytest.raises(ValueError, match="model.ts' is a program"):
        load_exported(program)


def test_what_was_checked_is_what_is_loaded(program, records, monkeypatch, tmp_path):
    """The file is exchanged as soon as its checksum is found."""
    own_files.remember(program)
    is_own = own_files.is_own

    def is_own_and_exchange(content):
        found = is_own(content)
        (tmp_path / "model.ts").write_text("another")
        return found

    monkeypatch.setattr("scnet.export.runtime.is_own", is_own_and_exchange)
    assert load_exported(program).metadata == METADATA


def test_windows_has_no_users_by_number(tmp_path, monkeypatch):
    monkeypatch.delattr("os.getuid")
    assert own_files.is_private(tmp_path)
