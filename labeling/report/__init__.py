"""Pages for whoever leads the labeling: the report on the annotators, and the datasheet of the rankings."""
