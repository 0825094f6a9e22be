"""The server's own Python environment, since its pins conflict with others: built once, then used without network.

It is in the user's cache, named by the hash of `requirements.lock` and the Python version. So all homes and clones
share it, and a new lock file gets a new environment.
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
    """Return the folder of this version of the environment; it may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(LOCK_FILE.read_bytes() + sys.version.split()[0].encode()).hexdigest()[:12]
    return cache / "alignment-pipeline" / f"argilla-{key}"


def ensure_environment(say: Callable[[str], None], stop: threading.Event | None = None) -> Path:
    """Return the interpreter of the server's environment, which is built on first use; `say` receives the progress.

    One process at a time builds it in a temporary folder, which is renamed when complete. Raises `LabelingError`
    (service) if it cannot be built, or when another thread sets `stop`.
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
            shutil.rmtree(target, ignore_errors=True)  # a folder without its Python
            building = target.with_suffix(".building")
            shutil.rmtree(building, ignore_errors=True)  # left by a killed process
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
    command += ["--no-deps"]  # the lock has all packages, some newer than argilla-server requires
    command += ["--no-compile"]  # the server compiles what it imports when it first starts
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
