"""How each reply was valued, and which of two siblings was preferred."""
