"""Training on people's judgements without a reward model: DPO's losses, and KTO."""
