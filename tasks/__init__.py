"""How a stage runs: one thin, named Prefect task a stage."""
