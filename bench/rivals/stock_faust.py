"""Stock Faust: the app that its documentation leads to, with the same core and the same bytes.

An agent, a table and `topic.send`: one state write and one send per output, for each event, at
least once (Faust's default and, by its own issues, the only mode that works). What can be had by
documented settings is set; nothing of Faust is overridden.
"""

from __future__ import annotations

import tempfile

import faust

from bench.rivals.effects import Record, effects_of
from orchestrator.settings import Settings

settings = Settings.load()
effects = effects_of(settings)
app = faust.App(
    settings.app_id,
    broker=f"kafka://{settings.bootstrap_servers}",
    store="memory://",
    datadir=tempfile.mkdtemp(prefix="bench-faust-"),
    topic_partitions=settings.partitions,
    topic_replication_factor=1,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    cython_optimizations=True,
    web_enabled=False,
)
source = app.topic(*effects.topics.inputs, key_serializer="raw", value_serializer="raw")
sinks = {
    name: app.topic(name, key_serializer="raw", value_serializer="raw") for name in effects.written
}
customers = app.Table("customers", partitions=settings.partitions, key_type=bytes, value_type=bytes)


@app.agent(source)
async def orchestrate(stream: faust.Stream) -> None:
    async for event in stream.events():
        message = event.message
        state, outputs = effects.of(
            Record(
                message.topic,
                message.partition,
                message.offset,
                int(message.timestamp * 1000),
                message.key,
                message.value,
                message.headers,
            ),
            customers.get(message.key),
        )
        customers[message.key] = state
        for output in outputs:
            await sinks[output.topic].send(
                key=output.key, value=output.value, headers=list(output.headers)
            )


if __name__ == "__main__":
    faust.Worker(app, loglevel="warning").execute_from_commandline()
