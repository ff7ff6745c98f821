"""Networks as files, proven to answer as what was measured. Importing this does not import torch."""

from pathlib import Path

NETWORK = ("model.safetensors", "architecture.json")
"""A network as data: its weights, and the steps of its forward pass."""
LOADER = Path(__file__).with_name("load_safetensors.py")
"""Reads them with torch and safetensors alone."""
