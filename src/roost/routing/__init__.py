"""Choose the models for a request: six steps, in order, and what each of them decided."""
