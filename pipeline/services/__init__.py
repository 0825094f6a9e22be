"""What lies outside this machine: the model hub, models behind endpoints, Weights & Biases."""
