"""A static site about the journeys of a shop: pictures, calendar, owners, scenarios, messages."""
