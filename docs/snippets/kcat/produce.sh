#!/bin/sh
# Send a purchase with kcat. Arguments: bootstrap servers, topic, customer id.
# murmur2_random finds the customer's home; librdkafka's own default takes a hop longer.
set -eu
printf '%s' '{"specversion":"1.0","id":"ord-1001","source":"/shop","type":"purchase","subject":"'"$3"'","data":{"order_id":"1001","total":"129.00","currency":"EUR","items":[{"sku":"tent-2","quantity":1,"price":"129.00"}]}}' |
  kcat -P -b "$1" -t "$2" -k "$3" -H content-type=application/cloudevents+json \
    -X partitioner=murmur2_random -X enable.idempotence=true
