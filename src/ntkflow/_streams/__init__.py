"""The theory of networks of blocks: what PDLT's chapter 8 becomes with skips, which make a stream remember its layers, and with norms.

`functions` holds the neuron functions of a stage, and alone knows norms; `through`, `carry` and `close` lead through a block; `memory` keeps
what a stream remembers; `means` corrects G and H; `run` puts them together, on the expectations of `integrals`.
"""
