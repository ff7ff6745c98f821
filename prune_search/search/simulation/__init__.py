"""Replays searches on recorded trials, with the search's own code and a simulated clock."""
