"""The rules of sending, without any world: no clock, no broker, no provider."""
