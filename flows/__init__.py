"""What runs: the command line and the Prefect flow."""
