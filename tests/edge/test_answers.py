"""Every error has a status, a code and a message for the client."""

import inspect
import json

import pytest
from msgspec import Raw

from proxy import errors
from proxy.edge.answers import REFUSALS, error_body
from proxy.errors import ProxyError

LEAVES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, ProxyError) and not error.__subclasses__()
]


@pytest.mark.parametrize("error", LEAVES)
def test_every_leaf_has_a_row(error: type[ProxyError]) -> None:
    assert error in REFUSALS


def test_every_row_is_a_leaf_or_our_own_fault() -> None:
    assert set(REFUSALS) == {*LEAVES, ProxyError}


@pytest.mark.parametrize("error", LEAVES)
def test_the_tree_in_the_docstring_names_every_leaf(error: type[ProxyError]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(("raw_id", "shown"), [(None, None), (Raw(b"0"), 0), (Raw(b'"0"'), "0")])
def test_an_error_carries_the_id_it_is_about(raw_id: Raw | None, shown: object) -> None:
    body = json.loads(error_body(errors.SessionNotFound(), raw_id))

    assert body == {"jsonrpc": "2.0", "id": shown, "error": {"code": -32001, "message": "Session not found"}}


@pytest.mark.parametrize("refusal", [r for r in REFUSALS.values() if r.status == 503])
def test_being_full_says_when_to_come_back(refusal: object) -> None:
    assert dict(refusal.headers)[b"retry-after"].isdigit()  # type: ignore[attr-defined]  # a Refusal
