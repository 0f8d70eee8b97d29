"""Hyperparameters from the theory: critical initialisation."""
