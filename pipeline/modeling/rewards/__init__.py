"""Reward models: what they are, how they are trained, and how they score."""
