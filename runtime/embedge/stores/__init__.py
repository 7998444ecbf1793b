"""Parts into vector stores, by the stores' own libraries; each is imported by its module alone."""
