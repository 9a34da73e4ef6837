"""The network: Soft mixture-of-experts, blocks, positions, masks, losses, and the model that puts them together."""
