"""What was made from what, as the store's records tell it."""
