"""Features: what a session can do beyond the core of log and loop, a folder each. `roost.registry` names them, in the
order in which the loop asks them."""
