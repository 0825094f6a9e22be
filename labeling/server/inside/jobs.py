"""Runs Argilla's background jobs on one thread in place of Redis and a worker.

The thread has its own event loop: on the server's loop, a webhook with a listener that calls back would wait for
itself. The next start repairs the status of records after jobs lost with the server (`database.settle`).
"""

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

KEPT = 1000  # latest jobs with a status that can still be read


class Job:
    """The parts of a job that Argilla uses: its id and its status."""

    known: dict[str, "Job"] = {}  # noqa: RUF012  (one per process, by design)

    def __init__(self, future: "Future[Any]") -> None:
        self.id = str(uuid4())
        self.future = future
        Job.known[self.id] = self
        while len(Job.known) > KEPT:
            del Job.known[next(iter(Job.known))]

    def get_status(self, refresh: bool = True) -> str:
        if not self.future.done():
            return "started" if self.future.running() else "queued"
        return "failed" if self.future.exception() else "finished"

    @classmethod
    def fetch(cls, job_id: str, connection: Any = None) -> "Job":
        from rq.exceptions import NoSuchJobError

        if job_id not in cls.known:
            raise NoSuchJobError(job_id)
        return cls.known[job_id]


def replace_redis() -> None:
    """Make Argilla's queues pass their jobs to the thread."""
    from argilla_server.api.handlers.v1 import jobs as handler
    from argilla_server.jobs import queues

    thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
    loop = asyncio.new_event_loop()

    def enqueue_call(func: Any, args: Any = None, kwargs: Any = None, retry: Any = None, **options: Any) -> Job:
        return Job(thread.submit(_run, loop, func, args or (), kwargs or {}, retry.max if retry else 0))

    for queue in (queues.DEFAULT_QUEUE, queues.HIGH_QUEUE):
        queue.enqueue_call = enqueue_call
    queues.REDIS_CONNECTION.ping = lambda: True
    handler.Job = Job


def _run(loop: asyncio.AbstractEventLoop, function: Any, args: Any, kwargs: Any, retries: int) -> None:
    for left in range(retries, -1, -1):
        try:
            loop.run_until_complete(function(*args, **kwargs))
            return
        except Exception as error:
            log = logging.getLogger("labeling").warning
            log("job %s failed (%s), %d tries left", function.__name__, type(error).__name__, left)
            if not left:
                raise
