"""The numbers of the reference implementation, and a table of how far ours are from them."""

from pathlib import Path

import pytest
from detectron2.modeling import build_model

from helpers import development_data
from parity_tools import DEVIATIONS, UNITS, Reference
from scnet.checkpoint.mmdet import convert_mmdet_state_dict
from scnet.checkpoint.mmdet_architecture import find_architecture


@pytest.fixture(scope="session")
def open_reference():
    """Opens a file of this folder or, where it is not here, of the development data."""

    def open_reference(name):
        path = Path(__file__).with_name(f"{name}.npz")
        return Reference(path if path.exists() else development_data() / "parity" / path.name)

    return open_reference


@pytest.fixture(scope="session")
def load_model():
    """Our model with the weights of a reference."""

    def load(reference):
        weights = reference.state_dict()
        cfg = find_architecture(weights).cfg()
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg)
        result = model.load_state_dict(convert_mmdet_state_dict(weights), strict=False)
        assert not result.unexpected_keys
        assert all(key.endswith("num_batches_tracked") for key in result.missing_keys)
        return model

    return load


def pytest_terminal_summary(terminalreporter):
    if DEVIATIONS:
        terminalreporter.section("largest deviation from the reference implementation")
        for quantity, value in sorted(DEVIATIONS.items()):
            terminalreporter.line(f"{quantity:45} {value:9.2e}  {UNITS[quantity]}")
