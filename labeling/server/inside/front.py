"""What stands before Argilla's app: headers of every answer, what was written is on the disk, and little else.

*Headers.* A page loads from this server alone, runs no script that is not a file of it or one of its own few inline
ones, is shown in no other page's frame, and no page from elsewhere reads an answer: there are no CORS headers at all,
and a browser lets a page read its own origin without them. Argilla allows any origin.

*Taken out.* Argilla's middleware for the time that an answer took costs more than some answers, its API's own pages
of documentation and a style sheet load from elsewhere. Answers for browsers are still compressed, but faster.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from .connections import writes

QUALITY = 4  # of 11, of brotli: a tenth larger than at Argilla's 7, in a third of the time
HERE = ("127.0.0.1", "::1")
OTHER_PAGES = ("/docs", "/redoc", "/docs/oauth2-redirect", "/api", "/share-your-progress")
_INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_IMPORT = re.compile(r"@import url\(https?://[^)]*\);?")


def before(app: Any, api: Any) -> Any:
    """The app with all that stands before it. `api` is the part of it below `/api/v1`."""
    kept = [each for each in app.user_middleware if each.cls.__name__ == "BrotliMiddleware"]
    for each in kept:
        each.kwargs["quality"] = QUALITY
    app.user_middleware = kept
    for part in (app, api):
        part.router.routes = [each for each in part.routes if getattr(each, "path", None) not in OTHER_PAGES]
    return with_headers(written(uncompressed_here(app)), policy(own_pages(app)))


def own_pages(app: Any) -> Path:
    """The folder of Argilla's pages, a copy that is made at each start; its styles load nothing from elsewhere."""
    folder = Path(next(each.app.directory for each in app.routes if getattr(each, "name", None) == "static"))
    for file in folder.rglob("*.css"):
        text = file.read_text(encoding="utf-8")
        if _IMPORT.search(text):
            file.write_text(_IMPORT.sub("", text), encoding="utf-8")
    return folder


def policy(pages: Path) -> str:
    """The Content-Security-Policy for these pages: the scripts in them are allowed by their hashes."""
    scripts = {script for page in pages.rglob("*.html") for script in _INLINE.findall(page.read_text(encoding="utf-8"))}
    hashes = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {allowed}",
            "style-src 'self' 'unsafe-inline'",  # the page sets styles of its own, and so do answers' cards
            "img-src 'self' data:",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def with_headers(app: Any, policy: str) -> Any:
    """Tell browsers what a page of this server may do."""
    headers = [
        (b"content-security-policy", policy.encode()),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await app(scope, receive, send_with_headers if scope["type"] == "http" else send)

    return answer


def written(app: Any) -> Any:
    """Answer a request that has written something once it is on the disk."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        count = writes.count

        async def send_written(message: Any) -> None:
            if message["type"] == "http.response.start" and writes.count != count:
                await writes.flushed()
            await send(message)

        await app(scope, receive, send_written if scope["type"] == "http" else send)

    return answer


def uncompressed_here(app: Any) -> Any:
    """Spare programs on this machine (a key, no browser) the compression of what they read: most of a pull."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        here = scope["type"] == "http" and scope["client"] and scope["client"][0] in HERE
        if here and any(name == b"x-argilla-api-key" for name, _ in scope["headers"]):
            plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            scope = {**scope, "headers": plain}
        await app(scope, receive, send)

    return answer
