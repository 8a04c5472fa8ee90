"""What the topics hold of one customer: searched, judged, and told as one document. No Kafka."""
