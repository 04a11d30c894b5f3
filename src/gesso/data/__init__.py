"""Datasets: folder conventions, published label spaces, the toy world, batches, and the doctor that checks them."""
