"""The benchmarks, one file each; ``karma.evals.catalogue`` lists them."""
