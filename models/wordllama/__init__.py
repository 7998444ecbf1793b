"""WordLlama's table of token vectors as a static model's folder: real weights to measure on."""
