"""Where training runs: on a GPU in bfloat16 where there is one, else on the CPU in float32."""

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reduced() -> torch.autocast:
    """Matrix products in bfloat16 on a GPU; weights, norms, losses and the optimizer stay float32.

    The CPU run is left alone: few processors multiply bfloat16 faster.
    """
    return torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda")
