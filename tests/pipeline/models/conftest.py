"""Fixtures: a model, and stored signals."""

from pathlib import Path

import pytest

from tachograph.detectors.behaviour.model import Model
from tests.detectors.behaviour.test_models import learned
from tests.pipeline.stored import ask, clickhouse, store

__all__ = ["ask", "clickhouse", "model", "path", "store"]


@pytest.fixture(scope="session")
def model() -> Model:
    return learned().model


@pytest.fixture
def path(model: Model, tmp_path: Path) -> Path:
    """The model's file."""
    found = tmp_path / "behaviour.skops"
    found.write_bytes(model.encode())
    return found
