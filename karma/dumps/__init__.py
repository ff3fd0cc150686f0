"""Stage ``dumps``: one dump file in, its rows typed and its unusable lines set aside."""
