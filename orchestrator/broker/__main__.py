"""`python -m orchestrator.broker` fetches Kafka into the cache, with progress, and ends.

`make test` calls it first, so that no test waits for a download.
"""

from orchestrator.broker.artifacts import cache_dir, class_path

if __name__ == "__main__":
    class_path()
    print(f"Apache Kafka is in {cache_dir()}")  # noqa: T201 - It is the answer of a program.
