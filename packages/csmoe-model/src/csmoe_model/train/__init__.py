"""Training: setup, fit, checkpoints, guards, probes, diagnostics."""
