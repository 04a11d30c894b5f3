"""What `bench.py` is made of: cases, layouts, contenders, measuring in processes of their own, and the report."""
