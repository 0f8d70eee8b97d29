"""The theory of an ensemble of networks: states from layer to layer, their errors, and the results."""
