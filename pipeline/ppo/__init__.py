"""Proximal policy optimization with learned or programmed rewards, on one machine.

The mathematics are pure functions of tensors (`masked`, `kl`, `rewards`, `advantages`, `groups`, `losses`,
`diagnostics`, `health`); they depend on no model, configuration or file. `loop` is the only loop; it calls `gathering`
and `learning`. Side effects are in `sources`, `samples` and `checkpoints`.

Papers: PPO (arXiv 1707.06347), GAE (arXiv 1506.02438), RLHF as in arXiv 1909.08593, 2009.01325 and 2203.02155.
Differences from arXiv 1909.08593: the score is on the last real token and nothing is bootstrapped after it, a missing
stop token costs a fixed penalty on top of the score, and rewards are whitened only on request.
"""
