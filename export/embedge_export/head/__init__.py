"""How the rows of a text become its vector: pooling, and what stands behind it."""
