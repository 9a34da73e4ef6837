"""How good features are: classification, segmentation and retrieval, with every convention named."""
