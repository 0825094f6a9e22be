"""The embedded default: a small world that this project makes up, so that alignment can be seen to work.

    world    what there is to ask: things, their troubles, the remedies, and which combinations are held out
    grammar  how people answer, well and badly
    texts    what a model learns from: a corpus, demonstrations of mixed quality, prompts
    scorer   how good an answer truly is; known only to the evaluation and to the simulated annotators

Pure Python: no torch, no configuration, nothing downloaded.
"""
