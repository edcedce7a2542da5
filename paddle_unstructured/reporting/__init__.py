"""What is sparse, for people and machines: tables, JSON, pages, pictures, scalars."""
