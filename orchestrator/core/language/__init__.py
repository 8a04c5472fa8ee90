"""The language of journeys: frozen models of what authors write."""
