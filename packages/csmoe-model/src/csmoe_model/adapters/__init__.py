"""Our models as other projects want them: Hugging Face Hub, timm, TerraTorch, TorchGeo, PANGAEA, torchgeo-bench, ONNX.

Each module imports the project that it is for, and nothing else does; bands are found by name, whatever they are
called there, and a band that is lacking is refused, never filled with zeros.
"""
