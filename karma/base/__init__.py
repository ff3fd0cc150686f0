"""The model that everything starts from."""
