"""Dirichlet process mixtures in JAX."""
