"""Every object of the table gets the verdict that stands beside it."""

import copy
from typing import Any

import pytest
from kfarm_api.parse import InvalidObject, parse


def test_verdict(object_case: Any) -> None:
    body = copy.deepcopy(object_case.body)
    if object_case.good:
        parsed = parse(body, strict=True)
        assert parse(parsed.as_manifest(), strict=True) == parsed
    else:
        with pytest.raises(InvalidObject) as error:
            parse(body, strict=True)
        assert all(problem.found and problem.expected for problem in error.value.problems)
    assert body == object_case.body, "the caller's mapping was changed"
