"""From a command line to a checked configuration: the schema, its checks, and the words for its keys. Never torch."""
