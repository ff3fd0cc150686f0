"""Stage ``report``: what each reward did to each policy, with its certainty, on one page."""
