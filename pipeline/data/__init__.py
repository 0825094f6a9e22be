"""Users' data in, the contract's rows out: functions that know nothing of Hydra, the runner or the store."""
