"""Backbones behind one protocol, and the floors."""
