"""The model is what the reference and the messages are made from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from topology.description import model
from topology.description.model import Frozen

MODELS = [
    one for one in vars(model).values() if isinstance(one, type) and issubclass(one, Frozen) and one is not Frozen
]


@pytest.mark.parametrize("described", MODELS, ids=lambda one: one.__name__)
def test_every_field_is_described(described: type[Frozen]) -> None:
    """A missing field's message is its description; the schema shows it too."""
    assert described.__doc__
    for name, field in described.model_fields.items():
        assert field.description, f"{described.__name__}.{name}"


@pytest.mark.parametrize("described", MODELS, ids=lambda one: one.__name__)
def test_models_are_frozen_and_refuse_what_they_do_not_know(described: type[Frozen]) -> None:
    """A topology does not change while it is read."""
    assert described.model_config["frozen"]
    assert described.model_config["extra"] == "forbid"


def test_values_are_not_bent_into_shape() -> None:
    """A port in quotes is a text, and true is no number."""
    for port in ("80", True, 80.0):
        with pytest.raises(ValidationError):
            model.Publish.model_validate({"http": port})
