"""Pages for the labeling lead: the report on the annotators, and the datasheet of the rankings."""
