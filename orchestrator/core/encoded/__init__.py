"""A customer as bytes: written, read, and read in part."""
