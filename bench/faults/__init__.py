"""The fault matrix: every fault that one machine allows, on real processes and a real Kafka.

`scene` is a small deployment under a steady load, judged afterwards by the judge of the crash run;
the files named after a kind of fault hold one function for each row of the matrix; `report` writes
`docs/faults.md`. Run it with `make faults`, or `python -m bench.faults --rows 2,7`.
"""
