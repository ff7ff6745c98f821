"""Launching searches on clusters: files that start one."""
