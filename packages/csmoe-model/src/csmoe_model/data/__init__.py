"""Data: a manifest and its chip store -> batches of standardised images, the same whoever loads them."""
