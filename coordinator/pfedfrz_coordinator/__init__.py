"""The coordinator: rounds, validation, aggregation and the journal."""
