"""What a model's files tell without torch: enough to refuse a model before anything is spent."""
