"""Group commit, ownership and recovery as a state machine without I/O.

`machine` owns partitions and the queue, `group` collects effects, `transaction` is what the driver
(`runtime/driver`, or a simulator) exchanges with them.
"""
