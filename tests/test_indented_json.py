"""JSON files read as `json.dumps` writes them with an indent."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.files import indented_json

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_KEYS = st.text() | st.integers() | st.booleans() | st.none()
_VALUES = st.recursive(
    _SCALARS,
    lambda values: st.lists(values, max_size=4) | st.tuples(values) | st.dictionaries(_KEYS, values, max_size=4),
    max_leaves=30,
)


@given(_VALUES)
def test_indented_json_is_what_the_standard_library_writes(value):
    assert indented_json(value) == json.dumps(value, indent=2, ensure_ascii=False)


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"a": [{"b": float("nan")}]}])
def test_numbers_that_strict_json_lacks_are_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        indented_json(value)
