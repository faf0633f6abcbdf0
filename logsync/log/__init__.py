"""The Kafka edge: the only package of logsync that imports the Kafka client."""
