"""The reports: tables, charts and sentences from what stages have measured."""
