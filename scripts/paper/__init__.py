"""What `scripts/reproduce.py` is made of: the paper's rows, and how each is trained on a small budget."""
