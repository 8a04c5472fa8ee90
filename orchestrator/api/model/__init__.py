"""The read model: what the topics say of every customer, in one SQLite file for each process."""
