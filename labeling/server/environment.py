"""The server's own environment, since its pins go together with nobody else's: built once, used without network.

It lies in the user's cache under the hash of `requirements.lock` and the Python version, so that every home and every
clone shares it, and a new lock file gets a new one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from labeling.backend import LabelingError
from labeling.server.home import Lock

LOCK_FILE = Path(__file__).with_name("requirements.lock")


def environment_path() -> Path:
    """Where this version of the environment lies, whether it is there yet or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(LOCK_FILE.read_bytes() + sys.version.split()[0].encode()).hexdigest()[:12]
    return cache / "alignment-pipeline" / f"argilla-{key}"


def ensure_environment(say: Callable[[str], None], stop: threading.Event | None = None) -> Path:
    """The interpreter of the server's environment, built on first use; `say` is told how far that is.

    It is built beside and renamed when whole, by one process at a time. Raises `LabelingError` (service) if it cannot
    be built, or once `stop` is set by another thread.
    """
    target = environment_path()
    python = target / "bin" / "python"
    if python.exists():
        return python
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(target.with_suffix(".lock"))
    try:
        if not lock.acquire():
            say("Another process is building Argilla's environment; waiting for it")
            lock.acquire(wait=float("inf"))
        if not python.exists():
            shutil.rmtree(target, ignore_errors=True)  # its Python is gone
            building = target.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)  # a killed process left it
            _build(building, say, stop or threading.Event())
            building.rename(target)
    finally:
        lock.release()
    return python


def _build(folder: Path, say: Callable[[str], None], stop: threading.Event) -> None:
    total = len(re.findall(r"^[\w.-]+==", LOCK_FILE.read_text(), re.MULTILINE))
    say(f"Building Argilla's environment, once: {total} packages, about 600 MB, about a minute")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise LabelingError(
            f"Argilla's environment cannot be made: {(error.stderr or error.stdout).strip()[-300:]} "
            "On Debian and Ubuntu, apt-get install python3-venv."
        ) from None
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar=off", "--require-hashes", "--only-binary=:all:", "--requirement", str(LOCK_FILE)]
    command += ["--no-deps"]  # all of it is in the lock, some newer than argilla-server asks for
    last_words: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        collected = 0
        for line in pip.stdout:
            if stop.is_set():
                pip.terminate()
            last_words = [*last_words, line.strip()][-30:]
            if line.startswith("Collecting "):
                collected += 1
                if collected % 20 == 0:
                    say(f"  {collected} packages found")
            elif line.startswith("Installing collected packages"):
                say("  all found; installing")
    if stop.is_set():
        raise LabelingError("Argilla's environment was not built: it is no longer needed.")
    if pip.returncode != 0:
        errors = [words for words in last_words if words.startswith("ERROR:")] or last_words[-2:]
        raise LabelingError(
            f"Argilla's environment could not be installed: {' '.join(errors)[:600]}\n"
            "The first start needs the network (or a pip that is set up for a mirror), later ones do not. "
            "With an Argilla elsewhere: labeling=remote, ARGILLA_API_URL and ARGILLA_API_KEY."
        )
