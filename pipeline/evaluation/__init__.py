"""What policies are worth beside each other: metrics, intervals, and the report."""
