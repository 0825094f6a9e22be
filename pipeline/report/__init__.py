"""The reports: tables, charts and sentences from the measurements of stages."""
