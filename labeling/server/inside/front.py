"""ASGI layers in front of Argilla's app: security headers, durable writes, less compression, changes to its page.

*Headers.* A page loads content from this server only, runs only scripts in the server's files and the page's own inline
ones, and cannot be framed by other pages. Pages of other origins cannot read responses, since CORS headers are missing;
a page of the same origin does not need them. (Argilla allows any origin.)

*Removed.* Argilla's middleware that measures response time costs more than some responses; its API documentation pages
and a style sheet load content from other servers. Responses to browsers are still compressed, but faster.
"""

import base64
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from .connections import writes
from .queues import noticing_the_page

QUALITY = 4  # of brotli's 11: 10% larger than with Argilla's 7, in a third of the time
HERE = ("127.0.0.1", "::1")
OTHER_PAGES = ("/docs", "/redoc", "/docs/oauth2-redirect", "/api", "/share-your-progress")
_ADDED = '<link rel="stylesheet" href="/page.css"><script src="/page.js"></script>'
_INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_IMPORT = re.compile(r"@import url\(https?://[^)]*\);?")


def before(app: Any, api: Any) -> Any:
    """Return the app with all layers of this module. `api` is its part below `/api/v1`."""
    kept = [each for each in app.user_middleware if each.cls.__name__ == "BrotliMiddleware"]
    for each in kept:
        each.kwargs["quality"] = QUALITY
    app.user_middleware = kept
    for part in (app, api):
        part.router.routes = [each for each in part.routes if getattr(each, "path", None) not in OTHER_PAGES]
    return with_headers(noticing_the_page(written(uncompressed_here(app))), policy(own_pages(app)))


def own_pages(app: Any) -> Path:
    """Return the folder of Argilla's pages, a copy made at each start, with our style sheet and script added.

    Also removes imports from other servers in its CSS.
    """
    folder = Path(next(each.app.directory for each in app.routes if getattr(each, "name", None) == "static"))
    for name in ("page.css", "page.js"):
        shutil.copyfile(Path(__file__).parent / "page" / name, folder / name)
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</head>", f"{_ADDED}</head>", 1), encoding="utf-8")
    for file in folder.rglob("*.css"):
        text = file.read_text(encoding="utf-8")
        if _IMPORT.search(text):
            file.write_text(_IMPORT.sub("", text), encoding="utf-8")
    return folder


def policy(pages: Path) -> str:
    """Return the Content-Security-Policy for these pages; their inline scripts are allowed by hash."""
    scripts = {script for page in pages.rglob("*.html") for script in _INLINE.findall(page.read_text(encoding="utf-8"))}
    hashes = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {allowed}",
            "style-src 'self' 'unsafe-inline'",  # the page and the answers' cards have inline styles
            "img-src 'self' data:",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def with_headers(app: Any, policy: str) -> Any:
    """Return the app with security headers on every HTTP response."""
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
    """Return the app with each response to a writing request sent only after the writes are on disk."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        count = writes.count

        async def send_written(message: Any) -> None:
            if message["type"] == "http.response.start" and writes.count != count:
                await writes.flushed()
            await send(message)

        await app(scope, receive, send_written if scope["type"] == "http" else send)

    return answer


def uncompressed_here(app: Any) -> Any:
    """Return the app without compression for programs on this machine (requests with a key): most of a pull's time."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        here = scope["type"] == "http" and scope["client"] and scope["client"][0] in HERE
        if here and any(name == b"x-argilla-api-key" for name, _ in scope["headers"]):
            plain = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            scope = {**scope, "headers": plain}
        await app(scope, receive, send)

    return answer
