"""What the operator asked for: the model, its defaults, and how files become it."""
