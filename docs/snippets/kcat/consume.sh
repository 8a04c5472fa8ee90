#!/bin/sh
# Read commands with kcat. Arguments: bootstrap servers, topic, how many.
# Commands come in transactions, and kcat reads what is committed unless told otherwise.
set -eu
kcat -C -b "$1" -t "$2" -c "$3" -q -X isolation.level=read_committed -X auto.offset.reset=earliest \
  -f '%k %s\n'
