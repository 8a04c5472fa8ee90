"""YAML → journeys, and every finding with file and line. The only reader of `journeys/`."""

from orchestrator.catalog.findings import Finding
from orchestrator.catalog.folder import Reading, load, read

__all__ = ["Finding", "Reading", "load", "read"]
