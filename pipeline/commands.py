"""The commands beside the chain: status, artifacts, chat."""

COMMANDS = {}
