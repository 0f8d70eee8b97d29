"""Flows of all components of many samples: tile by tile, in bounded memory, to a store on disk."""
