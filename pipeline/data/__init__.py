"""Reads users' data and writes the contract's rows. Knows nothing of Hydra, the runner or the store."""
