"""Embeddings of a manifest's chips, in the layout of Major TOM."""
