"""One module for each framework: `version`, `install` (import the framework and wrap its tools, before the agent is
imported), and `run` (one turn). `EARLY` may name modules that its agents mostly use: they are imported once for all
runs of a session. Neither may start a thread or open a connection, else each run starts a program of its own."""
