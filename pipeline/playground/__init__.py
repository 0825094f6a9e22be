"""The built-in default task: a small made-up world with a true score, so that the effect of alignment is measurable.

    world    the questions: things, their troubles, the remedies, and the combinations that are held out
    grammar  good and bad answers
    texts    training texts: a corpus, demonstrations of mixed quality, prompts
    scorer   the true score of an answer; only the evaluation and the simulated annotators use it

Pure Python: no torch, no configuration, no downloads.
"""
