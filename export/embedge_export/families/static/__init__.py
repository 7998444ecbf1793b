"""Static embedding models: a table of vectors and a mean, without layers."""
