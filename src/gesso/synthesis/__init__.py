"""From a model file to photographs."""
