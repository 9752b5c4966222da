"""A WebSocket that echoes, in plain ASGI: handshakes and messages are limited.

    uvicorn --workers 2 websocket_app:application

Each address may open 20 connections and send 10 messages in any 60 seconds, over all of its connections.
"""

import os

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware


async def echo(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})


policy = Policy(
    Rule("20/minute", key="ip", name="connections"),
    Rule("10/minute", key="ip", messages=True, name="messages"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
)
application = RateLimitMiddleware(echo, policy)
