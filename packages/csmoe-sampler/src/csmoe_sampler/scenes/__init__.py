"""Scenes: catalogues -> tables of scenes -> the best pair of Sentinel-1 and Sentinel-2 for every tile."""
