"""What stays open: server-sent events and a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Body, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse, ServerSentEvent

WAITING_EVENTS = 100
CLOSE = re.compile(r"close (?P<code>[34][0-9]{3})(?: (?P<reason>.{0,40}))?")
"""The codes that RFC 6455 leaves to applications begin with 3 and 4."""

router = APIRouter()
listeners: set[asyncio.Queue[str]] = set()


@router.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterable[ServerSentEvent]:
    """All that is posted from now on, as it comes.  FastAPI tells proxies not to hold it back (X-Accel-Buffering)."""
    waiting: asyncio.Queue[str] = asyncio.Queue(WAITING_EVENTS)
    listeners.add(waiting)
    try:
        yield ServerSentEvent(comment="listening")
        while True:
            yield ServerSentEvent(data=await waiting.get())
    finally:
        listeners.discard(waiting)


@router.post("/events", status_code=202)
async def post_event(text: Annotated[str, Body(max_length=1000)]) -> dict[str, int]:
    """Tells every listener; one that does not keep up misses it."""
    told = 0
    for waiting in listeners:
        with contextlib.suppress(asyncio.QueueFull):
            waiting.put_nowait(text)
            told += 1
    return {"listeners": told}


@router.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Sends back what comes.  The text `close 4001 some reason` closes with that code."""
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while (said := await socket.receive())["type"] == "websocket.receive":
            text = said.get("text")
            if text is None:
                await socket.send_bytes(said["bytes"])
            elif asked := CLOSE.fullmatch(text):
                await socket.close(int(asked["code"]), asked["reason"])
                return
            else:
                await socket.send_text(text)
