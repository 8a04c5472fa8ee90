"""Records of other teams' topics → events, by the rules of `inputs.yaml`. Pure and total."""

from orchestrator.protocol.inputs.mapping import MappedEvent, Mapping, mappings
from orchestrator.protocol.inputs.schemas import Schema, Schemas, UnknownSchema

__all__ = ["MappedEvent", "Mapping", "Schema", "Schemas", "UnknownSchema", "mappings"]
