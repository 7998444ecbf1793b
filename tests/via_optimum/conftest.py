"""What the tests of `--via optimum` share.

Not part of the suite: `make test-optimum` makes an environment that has torch, transformers and
Optimum, and runs what stands here.
"""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two libraries whose threads spin for work get in each other's way at these sizes."""
    torch.set_num_threads(1)
