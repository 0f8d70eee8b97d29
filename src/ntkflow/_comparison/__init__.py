"""The theory against sampled networks."""
