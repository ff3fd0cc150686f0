"""Stage ``dumps``: one dump file or corpus in, its rows typed, its unusable lines set aside."""
