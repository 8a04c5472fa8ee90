"""Small compacted topics that every worker follows: a change reaches all of them at once."""
