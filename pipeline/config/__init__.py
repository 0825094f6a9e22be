"""Turns a command line into a checked configuration: schema, checks, help texts of the keys. Never imports torch."""
