"""How each paper trains: one module a paper, all of one shape (see `gesso.recipes.protocol.Recipe`)."""
