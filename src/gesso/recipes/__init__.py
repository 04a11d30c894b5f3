"""How each paper trains: one module a paper, all of one shape (see `gesso.recipes.protocol.Recipe`)."""

from gesso.recipes import pix2pix, pix2pixhd, spade
from gesso.recipes.protocol import Recipe

RECIPES: dict[str, Recipe] = {recipe.NAME: recipe for recipe in (pix2pix, pix2pixhd, spade)}

__all__ = ["RECIPES"]
