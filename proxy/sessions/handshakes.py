"""What does a child answer to a request that is ours?"""

from proxy.protocol.messages import Request
from proxy.sessions.session import Session
from proxy.sessions.stream import Failure


async def answer_of_child(session: Session, request: Request) -> bytes:
    """The child's answer, on one line. Waits for it, for ever.

    Raises:
        ProxyError: If there is none; says why.
    """
    stream = session.exchange.streams.new(request.raw_id)
    await session.intake.begin([request], stream)
    while not stream.has_ended:
        stream.take()  # what it says beside the answer is for nobody
        await stream.wait()
    _, (*_, item) = stream.take()
    if isinstance(item, Failure):
        raise item.error
    assert isinstance(item, bytes)  # it asks in vain
    return item
