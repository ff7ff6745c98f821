"""Which configuration next: first trials, samplers, what they see of the study, and asking ahead."""
