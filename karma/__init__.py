"""The library: every stage of the study, the DAG that joins them, and the store that keeps them."""
