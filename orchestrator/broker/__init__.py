"""The embedded Apache Kafka: neither Java, Maven nor Docker on the machine, and yet the real one.

`process.py` runs it, `artifacts.py` and `lock.py` bring it, `properties.py` sets it up.
"""

from orchestrator.broker.process import EmbeddedBroker, java_command, tie_to_parent
from orchestrator.broker.properties import Listener

__all__ = ["EmbeddedBroker", "Listener", "java_command", "tie_to_parent"]
