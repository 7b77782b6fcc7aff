"""What doors cost and hold: CPU of a turn, many streams, clients that are slow or hostile."""
