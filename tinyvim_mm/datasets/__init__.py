"""Public benchmarks whose layout no toolbox reads as it is."""
