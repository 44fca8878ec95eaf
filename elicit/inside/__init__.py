"""Inside a model: lenses, and policies compared by their activations."""
