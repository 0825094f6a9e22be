"""The server's log: bounded, owner-only, without the content of requests.

Argilla logs a request that fails its checks with the whole body, including passwords. Here such an error is logged by
type and place only.
"""

import logging
import logging.handlers
import threading
from pathlib import Path

BYTES = 2_000_000


def configure(file: Path) -> None:
    """Send all logging to `file`, and exceptions that end threads."""
    file.touch(0o600)
    handler = logging.handlers.RotatingFileHandler(file, maxBytes=BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(without_bodies)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False  # migrations disable all existing loggers
    threading.excepthook = lambda died: logging.getLogger("labeling").error(
        "a thread died", exc_info=(died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
    )


def without_bodies(record: logging.LogRecord) -> bool:
    """Keep an error's type and place, and remove quoted content: bodies of requests, values in SQL statements."""
    error = record.msg if isinstance(record.msg, BaseException) else record.exc_info and record.exc_info[1]
    while isinstance(error, BaseException):
        faults = getattr(error, "errors", None)  # validation errors of FastAPI and pydantic
        if callable(faults):
            where = "; ".join(
                ".".join(map(str, fault.get("loc", ()))) + f" ({fault.get('type')})" for fault in faults()
            )
            record.msg, record.args = f"refused: {type(error).__name__} at {where}", ()
            record.exc_info = record.exc_text = None
            break
        if hasattr(error, "hide_parameters"):
            error.hide_parameters = True  # of SQLAlchemy's errors
        error = error.__cause__ or error.__context__
    return True
