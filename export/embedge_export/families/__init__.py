"""The families of networks: one folder a family, and the register that leads to them."""
