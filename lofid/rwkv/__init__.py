"""RWKV-6: configuration, weights, the readable reference model, the engines, states as values."""
