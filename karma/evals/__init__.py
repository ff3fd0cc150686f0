"""The stage ``evals``: one model on one benchmark, item by item."""
