"""Reward models: loading, training and scoring."""
