"""The names of what a pack's graphs take and give: what the exporter and the runtime agree on."""

INPUTS = ("input_ids", "attention_mask")  # int64 (B, S), both; the mask is 0 where padding is
IMAGE_INPUTS = ("pixel_values",)  # float32 (B, 3, H, W)
OUTPUT = "sentence_embedding"  # float32 (B, D), pooled, not normalized
# What a graph of a hub folder gives too: float32 (B, S, hidden), the last layer's rows, each where
# its token stands in the input, and 0 where the mask is 0. No pack's graph has it.
ROWS = "last_hidden_state"
