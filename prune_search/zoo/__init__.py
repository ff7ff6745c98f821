"""Built-in models and data sets, and loading the user's own by import path. Importable without torch."""
