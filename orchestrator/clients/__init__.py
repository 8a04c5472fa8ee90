"""What every Kafka client of ours is made with, whichever room it works in.

`security` turns settings into a client's arguments and says why it cannot connect; `records` lets
consumers read records whose header names are not text.
"""
