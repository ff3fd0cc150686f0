"""The starting policy: the base model, fine-tuned on one exposure's replies."""
