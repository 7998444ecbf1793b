"""Lower precisions against fp32, on texts and photographs: `make fidelity`."""
