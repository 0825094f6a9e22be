"""Proximal policy optimization against a learned or a programmed reward, on one machine.

The maths are pure functions of tensors (`masked`, `kl`, `rewards`, `advantages`, `losses`, `watching`, `stops`); they
know nothing of models, configuration or files. `loop` is the one loop, of `gathering` and `learning`; `sources`,
`samples` and `checkpoints` are its edges.

Papers: PPO (arXiv 1707.06347), GAE (arXiv 1506.02438), RLHF as in arXiv 1909.08593, 2009.01325 and 2203.02155. Where
this deviates from arXiv 1909.08593: the score stands on the last real token and nothing is bootstrapped after it, a
missing stop token costs a fixed penalty on top of the score, and rewards are not whitened unless asked for.
"""
