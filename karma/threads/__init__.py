"""Stage ``threads``: conversations out of the rows of one range of thread ids."""
