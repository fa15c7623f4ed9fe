"""The numbers of the reference implementation, and a table of how far ours are from them."""

import sys

import pytest
from detectron2.modeling import build_model
from parity_tools import DEVIATIONS, UNITS

from scnet.checkpoint.mmdet import convert_mmdet_state_dict
from scnet.checkpoint.mmdet_architecture import find_architecture


@pytest.fixture(scope="session")
def open_fixture(shared):
    """Opens a file of the reference's numbers with the reader that lies beside it."""
    sys.path.insert(0, str(shared / "parity"))
    try:
        from fixture import Fixture
    finally:
        sys.path.pop(0)
    return lambda name: Fixture(shared / "parity" / f"{name}.npz")


@pytest.fixture(scope="session")
def load_model():
    """Our model with the weights of a fixture."""

    def load(fixture):
        weights = fixture.state_dict()
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
