"""Which sessions watch which resources of a shared child?

The child hears of the first session that subscribes to a resource, and of the last one that leaves it.

Spec: 2025-11-25 server/resources, Subscriptions.
"""

from dataclasses import dataclass, field

from msgspec import Raw

from proxy.protocol.ids import decode_id, decode_text
from proxy.protocol.jsontext import as_object, encode
from proxy.protocol.messages import Response
from proxy.protocol.uris import Watched
from proxy.sessions.shared.levels import Ask
from proxy.sessions.shared.port import Port

SUBSCRIBE = "resources/subscribe"
UNSUBSCRIBE = "resources/unsubscribe"
MAX_WATCHED = 1024
"""Resources that one session may subscribe to. Ours: a runaway backstop."""

NOBODY = 0
"""In the place of the id of a request: there was none. A session counts its own from 1."""

_DONE = {"result": Raw(b"{}")}


@dataclass(slots=True)
class _Resource:
    """Attributes:
    raw_uri: As it was first written.
    watchers: The sessions that are subscribed, oldest first.
    asked: Those that wait for the child's answer to the first of them, with the ids of their requests.
    """

    raw_uri: Raw
    watchers: dict[Port, None] = field(default_factory=dict)
    asked: list[tuple[Port, int]] | None = None


class Watching:
    """The subscriptions of all sessions of one child.

    Args:
        ask: Asks the child.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._resources: dict[str, _Resource] = {}
        self._addresses = Watched()  # of those
        self._watched: dict[Port, set[str]] = {}

    def subscribe(self, port: Port, port_id: int, params: Raw | None) -> None:
        """A session subscribes; it is answered at once if the child tells of the resource already."""
        raw_uri, uri = _uri_in(params)
        watched = self._watched.setdefault(port, set())
        if raw_uri is None or uri is None:
            port.refuse(port_id, -32602, "Invalid params: uri")
            return
        if uri not in watched and len(watched) >= MAX_WATCHED:
            port.refuse(port_id, -32603, "Subscription limit reached")
            return
        resource = self._wanted(port, raw_uri, uri)
        if resource.asked is None:
            resource.watchers[port] = None
            port.answer(port_id, _DONE)
        else:
            port.waiting.add(port_id)
            resource.asked.append((port, port_id))

    def uris_of(self, port: Port) -> list[Raw]:
        """What a session is subscribed to, as it was written."""
        return [self._resources[uri].raw_uri for uri in self._watched.get(port, ()) if uri in self._resources]

    def adopt(self, port: Port, raw_uris: list[Raw]) -> None:
        """A session comes with its subscriptions, from another process. It is told nothing of the answers."""
        for raw_uri in raw_uris:
            resource = self._wanted(port, raw_uri, decode_text(raw_uri) or "")
            if resource.asked is None:
                resource.watchers[port] = None
            else:
                resource.asked.append((port, NOBODY))

    def unsubscribe(self, port: Port, port_id: int, params: Raw | None) -> bool:
        """A session ends its subscription. False if the child is to answer that: it was the last one.

        One that it has not got under this spelling is not ended: for the child it could be that of another session.
        """
        _, uri = _uri_in(params)
        watched = self._watched.get(port, set())
        if uri is None:
            port.refuse(port_id, -32602, "Invalid params: uri")
            return True
        resource = self._resources.get(uri) if uri in watched else None
        if resource is not None:
            watched.discard(uri)
            resource.watchers.pop(port, None)
            if not resource.watchers and resource.asked is None:
                self._drop(uri)
                return False
        port.answer(port_id, _DONE)  # others watch it still; or its end is seen to when the child has answered
        return True

    def leave(self, port: Port) -> None:
        """A session has gone."""
        for uri in self._watched.pop(port, ()):
            resource = self._resources.get(uri)
            if resource is None:
                continue
            resource.watchers.pop(port, None)
            if not resource.watchers and resource.asked is None:
                self._end(uri, resource)

    def watchers_of(self, params: Raw | None) -> list[Port]:
        """The sessions that are told of a change of what these `params` name, however the child spells it."""
        _, uri = _uri_in(params)
        found: dict[Port, None] = {}
        for watched in self._addresses.concerned_by(uri or ""):
            found.update(self._resources[watched].watchers)
        return list(found)

    def _wanted(self, port: Port, raw_uri: Raw, uri: str) -> _Resource:
        """A resource that a session wants to hear of; the child is asked if nobody else wants to."""
        self._watched.setdefault(port, set()).add(uri)
        resource = self._resources.get(uri)
        if resource is None:
            resource = self._resources[uri] = _Resource(raw_uri.copy(), asked=[])
            self._addresses.add(uri)
            self._ask(SUBSCRIBE, _params_of(resource), lambda response: self._answered(uri, response), port)
        return resource

    def _answered(self, uri: str, response: Response) -> None:
        resource = self._resources[uri]
        asked, resource.asked = resource.asked or [], None
        for port, _ in asked:
            if not response.is_error and uri in self._watched.get(port, ()):
                resource.watchers[port] = None
            elif response.is_error:
                self._watched.get(port, set()).discard(uri)
        if response.is_error:
            self._drop(uri)
        elif not resource.watchers:  # all that wanted it have gone or changed their minds
            self._end(uri, resource)
        for port, port_id in asked:
            port.answer_waiting(port_id, response.members)

    def _end(self, uri: str, resource: _Resource) -> None:
        self._drop(uri)
        self._ask(UNSUBSCRIBE, _params_of(resource), None, None)

    def _drop(self, uri: str) -> None:
        del self._resources[uri]
        self._addresses.discard(uri)


def _params_of(resource: _Resource) -> Raw:
    return Raw(encode({"uri": resource.raw_uri}))


def _uri_in(params: Raw | None) -> tuple[Raw | None, str | None]:
    """What `params` name, as it is written and as it is meant; nothing that is longer than an id may be."""
    raw_uri = (as_object(params) or {}).get("uri")
    uri = decode_id(raw_uri) if raw_uri is not None else None
    return raw_uri, uri if isinstance(uri, str) else None
