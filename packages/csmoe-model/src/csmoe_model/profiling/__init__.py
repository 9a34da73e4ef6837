"""What models cost: counted from their configuration, counted by torch, and measured."""
