"""Files: inputs, networks and results, written whole or not at all."""
