"""Learning from people's preferences without a reward model: the losses of DPO."""
