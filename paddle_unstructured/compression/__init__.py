"""A saved model as one small file, and back."""
