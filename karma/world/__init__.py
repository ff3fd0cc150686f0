"""Stage ``world``: a simulated Reddit whose truth is known."""
