"""External services: the model hub, models behind endpoints, Weights & Biases."""
