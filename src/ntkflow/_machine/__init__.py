"""The machine: its cores, its memory, and programs compiled for it."""
