"""From the bus to attributed flows, aggregates and outputs. Of `collector` it imports only `collector.schema`."""
