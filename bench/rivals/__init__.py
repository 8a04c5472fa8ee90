"""What the worker is compared with, each in its own idiom, all with the same core and bytes."""
