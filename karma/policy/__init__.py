"""Stage ``policy``: PPO on a reward model, from one starting policy."""
