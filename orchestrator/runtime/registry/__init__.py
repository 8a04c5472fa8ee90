"""The schemas of other teams' records: fetched here, used in `protocol/inputs`."""
