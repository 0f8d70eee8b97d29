"""The theory of networks whose layers are blocks: skips over stages, with norms. THEORY of section, file by file: see `run`."""
