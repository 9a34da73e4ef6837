"""Figures, each with its convention."""
