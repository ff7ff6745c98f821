"""Parts of this axis, one file each; found by the registry."""
