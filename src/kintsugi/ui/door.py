"""What every request passes: who may ask what, from where, and how much.

* The ``Host`` must be one of the server's own names, and an ``Origin`` the same as it: a page of somebody else, open in
  the same browser, can neither read nor start anything here.
* A body is counted as it comes, whatever its header says, and refused beyond the limit.
* Of gradio's routes only those that show the form are left. Its uploads, its files, its calls and its API are not
  found: none of them is used.
* Nothing is fetched from elsewhere: the content security policy forbids the browser to.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

COOKIE = "kintsugi"
# mend: ours. The rest is what gradio's page asks for: itself, its scripts and styles, and whether its server lives.
OPEN = re.compile(
    r"/|/mend/.*|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/(static|assets|svelte)/.*"
    r"|/gradio_api/(startup-events|heartbeat/\w+|app_id)/?"
)
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
TOKEN = re.compile(r"[\w-]{32}")


class Door:
    """An ASGI application around ``app``. ``hosts``: names of this server; empty for any."""

    def __init__(self, app: App, upload: int, hosts: Collection[str] = ()) -> None:
        self.app, self.upload, self.hosts = app, upload, frozenset(hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # gradio's page opens none
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refuse(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        client = _cookie(headers.get(b"cookie", ""))
        fresh = client is None
        scope["kintsugi_client"] = client = client or secrets.token_urlsafe(24)
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.upload:
                raise HTTPException(413, self._too_large())
            return message

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                if fresh:
                    cookie = f"{COOKIE}={client}; Path=/; HttpOnly; SameSite=Strict"
                    message["headers"].append((b"set-cookie", cookie.encode()))
            await send(message)

        await self.app(scope, counted, marked)

    def _refuse(self, scope: Message, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if self.hosts and re.sub(r":\d+$", "", host) not in self.hosts:
            return 421, "This server goes by another name."
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "Another page may not ask for this."
        if OPEN.fullmatch(scope["path"]) is None:
            return 404, "There is nothing here."
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or int(length) > self.upload:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"That file is too large: this page takes up to {self.upload / 2**20:g} MiB."


def _cookie(header: str) -> str | None:
    """The client's token, if it is one that we may have drawn."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and TOKEN.fullmatch(morsel.value) else None


async def _answer(send: Send, code: int, text: str) -> None:
    body = json.dumps({"error": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    if code == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
