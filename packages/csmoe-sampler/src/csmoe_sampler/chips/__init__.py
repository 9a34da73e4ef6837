"""Chips: the pixels of a manifest's scenes, in one UTM grid a tile, in a Zarr store."""
