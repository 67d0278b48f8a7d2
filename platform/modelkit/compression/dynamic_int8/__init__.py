"""Dynamic INT8: weights stored in eight bits, activations quantized as they come."""
