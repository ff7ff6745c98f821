"""How a network loses weights: one small file for each part, one folder for each axis."""
