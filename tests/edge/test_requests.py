"""What is read from the head and the body of an HTTP request, and what is refused."""

import pytest

from proxy.edge import requests as requests_module
from proxy.edge.requests import (
    check_get_headers,
    check_post_headers,
    check_version,
    read_headers,
    refuse_repeated,
)
from proxy.errors import NotAcceptable, NotJsonRpc, UnsupportedMediaType, VersionUnsupported

BOTH = b"application/json, text/event-stream"


@pytest.mark.parametrize(
    "accept",
    [
        BOTH,
        b"text/event-stream,application/json",
        b"Application/JSON; q=0.9, TEXT/event-stream;q=0.1",
        b"*/*",
        b"application/*, text/*",
        b"text/html, */*;q=0.8",
        None,
    ],
)
def test_an_accept_that_matches_both_types_is_served(accept: bytes | None) -> None:
    headers = {b"content-type": b"application/json"}
    check_post_headers(headers | ({b"accept": accept} if accept is not None else {}))


@pytest.mark.parametrize(
    "accept",
    [
        b"application/json",
        b"text/event-stream",
        b"",
        b"text/html",
        b"application/json, text/event-stream;q=0",
        b"text/*",
    ],
)
def test_an_accept_that_lacks_one_of_the_types_is_refused(accept: bytes) -> None:
    with pytest.raises(NotAcceptable):
        check_post_headers({b"content-type": b"application/json", b"accept": accept})


@pytest.mark.parametrize("content_type", [b"application/json", b"APPLICATION/json ; charset=utf-8"])
def test_json_is_json_in_any_case_and_with_parameters(content_type: bytes) -> None:
    check_post_headers({b"content-type": content_type, b"accept": BOTH})


@pytest.mark.parametrize("content_type", [None, b"", b"text/plain", b"application/jsonx", b"application/json-rpc"])
def test_a_body_that_is_not_said_to_be_json_is_refused(content_type: bytes | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_post_headers({b"content-type": content_type} if content_type is not None else {})


@pytest.mark.parametrize("accept", [b"text/event-stream", b"*/*", b"text/*", None])
def test_a_get_needs_a_client_that_reads_events(accept: bytes | None) -> None:
    check_get_headers({b"accept": accept} if accept is not None else {})

    with pytest.raises(NotAcceptable):
        check_get_headers({b"accept": b"application/json"})


@pytest.mark.parametrize("version", [None, b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"])
def test_the_revisions_that_we_speak_are_served(version: bytes | None) -> None:
    check_version({b"mcp-protocol-version": version} if version is not None else {})


@pytest.mark.parametrize("version", [b"2026-07-28", b"2099-01-01", b"2000-01-01", b"", b"invalid", b"\xff"])
def test_other_revisions_are_refused_naming_ours(version: bytes) -> None:
    """Spec: 2025-11-25 basic/transports, Protocol Version Header. HL-28."""
    with pytest.raises(VersionUnsupported, match="2025-11-25"):
        check_version({b"mcp-protocol-version": version})


@pytest.mark.parametrize("name", [b"content-type", b"content-length"])
def test_a_header_that_says_how_to_read_the_body_must_not_stand_there_twice(name: bytes) -> None:
    with pytest.raises(NotJsonRpc, match=name.decode()):
        read_headers({"headers": [(name, b"a"), (b"x", b"y"), (name, b"b")]})


@pytest.mark.parametrize("name", [b"mcp-session-id", b"mcp-protocol-version"])
def test_nor_one_that_sessions_act_on(name: bytes) -> None:
    twice = {"headers": [(name, b"a"), (b"x", b"y"), (name, b"a")]}
    once = {"headers": [(name, b"a, a")]}

    with pytest.raises(NotJsonRpc, match=name.decode()):
        refuse_repeated(read_headers(twice), twice)
    refuse_repeated(read_headers(once), once)


def test_an_accept_in_two_lines_is_one_list() -> None:
    headers = read_headers({"headers": [(b"accept", b"application/json"), (b"accept", b"text/event-stream")]})

    check_post_headers({**headers, b"content-type": b"application/json"})


class Unaddable(bytes):
    """Adding up a megabyte of headers one by one copies it thousands of times."""

    def __add__(self, other: object) -> bytes:
        raise AssertionError("added up")


def test_headers_that_are_repeated_for_ever_are_joined_once() -> None:
    headers = read_headers({"headers": [(b"x-a", Unaddable(b"a")) for _ in range(10_000)]})

    assert headers[b"x-a"] == b", ".join([b"a"] * 10_000)


def test_long_values_are_read_and_not_remembered() -> None:
    """What is remembered of requests that came is bounded in bytes, not only in number."""
    before = requests_module._known_media_ranges.cache_info().currsize
    for number in range(3):
        long = b"text/x%d, " % number * 500 + BOTH
        check_post_headers({b"accept": long, b"content-type": b"application/json"})
        with pytest.raises(NotAcceptable):
            check_get_headers({b"accept": long.replace(b"event-stream", b"x")})
        with pytest.raises(UnsupportedMediaType):
            check_post_headers({b"content-type": b"application/json;" + b"%d" % number * 5000})

    assert requests_module._known_media_ranges.cache_info().currsize == before


def test_a_revision_that_the_child_has_agreed_to_is_served() -> None:
    headers = {b"mcp-protocol-version": b"2024-10-07"}

    check_version(headers, agreed="2024-10-07")
    with pytest.raises(VersionUnsupported):
        check_version(headers, agreed="2025-11-25")
