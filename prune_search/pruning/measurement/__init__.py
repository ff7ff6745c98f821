"""What parts measure on the network, one file each; found by :func:`prune_search.pruning.context.measurements`."""
