"""Which addresses are the same, and which lie above another: what URL libraries make of them, as tables."""

import pytest

from proxy.protocol.uris import MAX_URI_BYTES, Watched, comparable

SAME = [
    ("http://h", "http://h/"),  # JavaScript: new URL("http://h").href; pydantic: AnyUrl
    ("HTTP://Example.COM:80/a", "http://example.com/a"),
    ("https://u:P@H:443", "https://u:P@h/"),
    ("http://h?q=A", "http://h/?q=A"),
    ("http://h/a b/\u00e9", "http://h/a%20b/%C3%A9"),
    ("file:///a b", "file:///a%20b"),
    ("file:/a", "file:///a"),
    ("file://localhost/a", "file:///a"),
    ("http://h/a/./b/../c", "http://h/a/c"),
    ("http://h/a/..", "http://h/"),
    ("http://h/../..", "http://h/"),
    ("note:///a/%7euser/%c3%a9", "note:///a/~user/%C3%A9"),
    ("Note://A/x", "note://A/x"),
    ("note:{a}", "note:%7Ba%7D"),
]

DIFFERENT = [
    ("note://A/x", "note://a/x"),  # the host of a scheme that nobody knows: a name of its server's own
    ("note://a", "note://a/"),
    ("http://h/A", "http://h/a"),
    ("http://h/a", "http://h/a/"),
    ("http://h:8080/", "http://h/"),
    ("http://h/a%2Fb", "http://h/a/b"),
    ("http://h/a%25", "http://h/a%"),
    ("http://h/?a", "http://h/#a"),
    ("https://h/", "http://h/"),
    ("a/../b", "b"),
    ("x", "X"),
    ("http://h/" + "a" * MAX_URI_BYTES, "http://H/" + "a" * MAX_URI_BYTES),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_address_in_two_spellings(one: str, other: str) -> None:
    assert comparable(one) == comparable(other) == comparable(comparable(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_addresses(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)


@pytest.mark.parametrize("uri", ["", ":", "//", "http:", "http://", "file:", "\ud800:\ud800", "a:\n%", "%zz", "/a/.."])
def test_what_is_hardly_an_address_is_one_for_us(uri: str) -> None:
    watched = Watched()
    watched.add(uri)
    assert watched.concerned_by(uri) == [uri]
    watched.discard(uri)
    assert (watched.concerned_by(uri), len(watched)) == ([], 0)


def test_a_change_concerns_what_is_above_it_and_nothing_beside() -> None:
    watched = Watched()
    for uri in ("http://H/a", "http://h/a/", "http://h/ab", "http://h/a/b/c", "http://other"):
        watched.add(uri)

    assert watched.concerned_by("http://h/a/b") == ["http://h/a/", "http://H/a"]
    assert watched.concerned_by("http://h/a") == ["http://H/a"]
    assert watched.concerned_by("http://x/a") == []


def test_each_spelling_is_watched_for_itself() -> None:
    watched = Watched()
    watched.add("http://h")
    watched.add("http://h/")
    watched.add("http://h")
    assert watched.concerned_by("http://H:80") == ["http://h", "http://h/"]

    watched.discard("http://h")
    watched.discard("http://H")  # was never one
    assert watched.concerned_by("http://h") == ["http://h/"]
