"""PX-bench in Quix Streams: a streaming dataframe with state, and a topic for each output.

Runs in a virtual environment of its own (`requirements.txt` here), with nothing of ours but the
job. State is Quix's own: RocksDB, and a changelog that is flushed with each checkpoint.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
from quixstreams import Application, message_context

from bench.rivals.job import Job, Record, Surroundings, new_customer

if TYPE_CHECKING:
    from quixstreams.state import State

around = Surroundings.load()
settings: dict[str, Any] = orjson.loads(os.environ.get("BENCH_SETTINGS", "{}"))
job = Job(around.prefix, around.app_id)
if settings.get("on_processing_error") == "skip":
    # The documented callback: true lets the application go on with the next record.
    settings["on_processing_error"] = lambda *_: True
app = Application(
    broker_address=around.bootstrap_servers,
    consumer_group=around.app_id,
    auto_offset_reset="earliest",
    state_dir=os.environ["BENCH_STATE_DIR"],
    auto_create_topics=True,
    loglevel="WARNING",
    **settings,
)
(source_name,) = job.topics.inputs
source = app.topic(source_name, key_deserializer="bytes", value_deserializer="bytes")
sinks = {
    name: app.topic(name, key_serializer="bytes", value_serializer="bytes") for name in job.written
}


def orchestrate(
    value: bytes, key: bytes, timestamp: int, _headers: object, state: State
) -> list[Any]:
    """Return the outputs of one event."""
    context = message_context()
    record = Record(context.topic, context.partition, context.offset, timestamp, key, value)
    customer = state.get("customer") or new_customer()
    outputs = job.decide(record, customer)
    state.set("customer", customer)
    return outputs


frame = app.dataframe(source)
frame = frame.apply(orchestrate, stateful=True, expand=True, metadata=True)
frame = frame.set_headers(lambda output, *_: list(output.headers))
for sink_name, sink in sinks.items():
    chosen = frame.filter(lambda output, wanted=sink_name: output.topic == wanted)
    chosen.apply(lambda output: output.value).to_topic(sink)

if __name__ == "__main__":
    app.run()
