"""Pages for the lead of the labeling: the report on the annotators, and the datasheet of the rankings."""
