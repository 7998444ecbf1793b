"""The parts of a run, made on a Ray cluster; Ray is imported there and nowhere else."""
