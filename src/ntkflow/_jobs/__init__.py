"""Jobs of many tasks: done by this process, or by the workers of any executor, on one machine or many."""
